"""Tests of embedding and decoding."""
