"""How well hidden acquisitions are predicted, by every method."""
