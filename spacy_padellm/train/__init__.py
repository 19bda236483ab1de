"""Training: gold mentions → supervised trees, and the loss."""
