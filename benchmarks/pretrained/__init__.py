"""The model that comes with the package: worlds, training, scores, and its card."""
