"""A trained model at another place: calibrated, trained further, or given further sensors."""
