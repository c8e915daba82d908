"""The speed, memory and scaling of ``embed``."""
