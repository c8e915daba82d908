"""What a simulated region is made of: land, weather, seasons, canopies, radar, orbits, sky."""
