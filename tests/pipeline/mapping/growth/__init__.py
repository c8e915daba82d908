"""Results of cubes that grow."""
