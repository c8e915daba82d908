"""Maps of land cover, or of a number, by labels and latents."""
