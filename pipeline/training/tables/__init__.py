"""Tables of pixel series: a source of training beside cubes."""
