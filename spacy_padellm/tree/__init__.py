"""Token trees, and how they are run through a model."""
