"""Commands that are killed, interrupted, or lose what they need."""
