"""Tables of pixel series as a source of training beside cubes."""
