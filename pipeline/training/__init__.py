"""Cube to model."""
