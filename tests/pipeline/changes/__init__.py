"""Tests of changes between dates and between runs."""
