"""Servers of the tests, each a real process: files, objects, schedulers."""
