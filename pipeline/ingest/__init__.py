"""Scenes to cube: plan, read, harmonise, write."""
