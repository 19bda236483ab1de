"""What a model is taught, and fine-tuning by Hugging Face's Trainer: one GPU or many."""
