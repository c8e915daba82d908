"""What protection costs, beside the same work without it."""
