"""What is opened, with methods of its own: ``.terralatent`` of xarray's objects, and its parts."""
