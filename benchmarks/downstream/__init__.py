"""What features of pixel series are worth to whoever has few labels."""
