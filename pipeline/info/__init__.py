"""What stores and models say of themselves."""
