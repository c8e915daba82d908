"""Series of pixels through a model, in batches: whose latents, and features of them."""
