"""What the command line prints as whole pages."""
