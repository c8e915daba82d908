"""What waiting at the explorer costs."""
