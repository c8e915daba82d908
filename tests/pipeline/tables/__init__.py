"""Tests of the opened cube."""
