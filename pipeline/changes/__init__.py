"""Where latents, or a decoded index, moved beyond chance: between dates, and between runs."""
