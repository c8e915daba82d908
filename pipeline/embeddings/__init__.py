"""Annual vectors: a year of a pixel in a few components, with their standard deviations."""
