"""Lazy results: what they read, what they take beside a store, and what it takes to import them."""
