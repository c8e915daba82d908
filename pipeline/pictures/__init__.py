"""Pictures of stores: one file for each kind of store, two for what they share."""
