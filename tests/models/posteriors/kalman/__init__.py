"""Tests of the compiled recursions."""
