"""Models of the same series that the GP-VAE is compared with; one file for each."""
