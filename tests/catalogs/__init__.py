"""Tests of catalogs/."""
