"""What each sensor brings: its encoder, its decoder, its likelihood."""
