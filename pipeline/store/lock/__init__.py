"""One writer a store: the lock beside it, and what its run tells of itself."""
