"""What the GP-VAE is compared with: other variational autoencoders of pixel series."""
