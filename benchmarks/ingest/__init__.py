"""The speed, bytes and memory of ``build``."""
