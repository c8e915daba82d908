"""Tests of stores, their history and their locks."""
