"""Pixel series of a window of the cube: what they are, and how they are read."""

from terralatent.pipeline.cube.series.block import CPU, NEVER, SensorSeries, SeriesBlock
from terralatent.pipeline.cube.series.read import (
    HALO,
    US_PER_DAY,
    distance_to_masked,
    read_dates,
    read_series,
)

__all__ = [
    "CPU",
    "HALO",
    "NEVER",
    "US_PER_DAY",
    "SensorSeries",
    "SeriesBlock",
    "distance_to_masked",
    "read_dates",
    "read_series",
]
