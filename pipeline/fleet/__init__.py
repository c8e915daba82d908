"""A large region as a fleet of tiles, each a cube and results of its own."""
