"""Stores of results: laid out, filled block by block, and what is reported of that."""
