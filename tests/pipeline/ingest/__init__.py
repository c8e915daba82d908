"""Tests of building and growing cubes."""
