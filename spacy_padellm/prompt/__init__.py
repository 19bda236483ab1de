"""What a model is prompted with: wording, tokens, ids."""
