"""Stores as files that other programs read."""
