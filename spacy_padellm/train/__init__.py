"""What a model is taught: gold mentions → supervised trees, and the loss."""
