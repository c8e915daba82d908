"""What a cube is, and how its pixels are read."""
