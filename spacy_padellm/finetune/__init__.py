"""Fine-tuning by Hugging Face's Trainer: one GPU or many, all weights or an adapter's."""
