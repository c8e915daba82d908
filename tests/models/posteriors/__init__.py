"""Tests of the posteriors over time."""
