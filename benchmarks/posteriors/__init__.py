"""Times, bounds and errors of the posteriors over time."""
