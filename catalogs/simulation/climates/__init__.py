"""Climates, and the worlds that are drawn from them: data, not code."""
