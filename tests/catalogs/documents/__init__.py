"""Tests of what serves, fetches and bounds documents."""
