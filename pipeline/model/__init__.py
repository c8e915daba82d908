"""A model as an object: what maps cubes, Datasets, tables and arrays, and how it displays."""
