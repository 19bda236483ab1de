"""Learn labels from few annotated texts."""
