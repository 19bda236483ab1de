"""Token trees, and running them through a model."""
