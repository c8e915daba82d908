"""Means of fields."""
