"""What features of cubes are worth to whoever has few labelled polygons."""
