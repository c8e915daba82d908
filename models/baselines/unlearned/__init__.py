"""What the GP-VAE is compared with: gap filling that takes no training."""
