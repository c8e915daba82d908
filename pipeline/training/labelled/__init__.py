"""Training with a few labels beside what is observed."""
