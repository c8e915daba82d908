"""Exports in each format."""
