"""From a region and a period to scenes: search, passes, and the fate of every item."""
