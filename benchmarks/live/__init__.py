"""What it costs to keep cubes and results current, and to have many of them."""
