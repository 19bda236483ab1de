"""Fine-tuning with Hugging Face's Trainer: one GPU or many, all weights or an adapter."""
