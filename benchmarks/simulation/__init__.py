"""The simulated region beside real scenes, and models beside its truth."""
