"""Tests of terralatent.pipeline.explorer; those in a browser are in tests/browser."""
