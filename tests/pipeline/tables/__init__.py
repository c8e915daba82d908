"""Tests of tables of pixel series."""
