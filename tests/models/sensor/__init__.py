"""Tests of the kernels over time."""
