"""One writer a store: the lock beside it, and the note of how far its run is."""
