"""Documents of a catalogue: where they lie, which of them may be read, and how they are fetched."""
