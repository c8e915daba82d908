"""Real processes of the command line, and what befalls them."""
