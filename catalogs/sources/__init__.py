"""Sensors and sources: what there is, described in TOML, and what each needs."""
