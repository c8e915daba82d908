"""What overviews cost, and what a picture reads with and without them."""
