"""A page over a store: a map with levels, dates and layers, the series of a pixel, drawn labels."""
