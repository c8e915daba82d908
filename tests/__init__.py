"""The tests; what several files share is imported from here as ``tests.…``."""
