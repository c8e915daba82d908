"""Latents as a store: their arrays, how a block is inferred, and what lets it go on."""
