"""Cube and model to latents and bands, block by block."""
