"""Cubes that are lived with: in season, and as they grow."""
