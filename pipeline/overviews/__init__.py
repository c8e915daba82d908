"""Overviews of results: the same arrays in larger pixels, all made from the result's own."""
