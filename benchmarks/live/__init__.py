"""What it costs to keep results up to date, and how they hold by then."""
