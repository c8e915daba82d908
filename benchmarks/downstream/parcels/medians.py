"""Features without a model of latents: medians of the months of pixels, and what is made of them.

What is estimated of pixels (the mean of a band, its whitening) sees all pixels in polygons of the
region without labels, as a model that is trained on the region does.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from benchmarks.downstream import raw
from terralatent.pipeline import open_cube

__all__ = ["RAW", "Medians", "read_medians"]

Array = NDArray[np.float64]

MONTHS = 12
DECIBELS = "dB"


@dataclass(frozen=True, eq=False)
class Medians:
    """Of P pixels in the months of a year: optical sensors first, then radar."""

    values: NDArray[np.float32]
    """Reflectance and dB, NaN where a month has no clear observation, (P, month, band)."""

    optical: NDArray[np.intp]
    """How many bands are reflectance, ()."""

    parts: NDArray[np.intp]
    """Where the bands of the second sensor begin, of the third, ..."""

    @cached_property
    def logarithms(self) -> Array:
        """Of reflectance; decibels as they are, (P, month, band)."""
        return raw.logarithms(self.values, int(self.optical))

    @cached_property
    def middle(self) -> Array:
        """What a pixel has of a band that it never saw, (band,)."""
        flat = self.logarithms.reshape(-1, self.values.shape[-1])
        seen = np.isfinite(flat)
        return np.where(seen, flat, 0.0).sum(axis=0) / seen.sum(axis=0).clip(1)

    @cached_property
    def complete(self) -> Array:
        """Months without any filled linearly in time, (P, month, band)."""
        return raw.interpolated(self.logarithms, MONTHS, self.middle)

    @cached_property
    def white(self) -> Array:
        """These rotated and scaled by sensor, (P, month, band)."""
        everything = np.arange(len(self.values))
        return raw.whitened(self.complete, everything, parts=list(self.parts))

    @cached_property
    def counts(self) -> Array:
        """Of the months that each sensor saw, and those to the nearest seen, (P, F)."""
        by_sensor = np.split(np.isfinite(self.values), self.parts, axis=-1)
        return raw.counts(np.stack([own.any(axis=-1) for own in by_sensor], axis=-1))


def read_medians(
    cube: Path, pixels: tuple[NDArray[np.intp], NDArray[np.intp]], year: int
) -> Medians:
    """Read the medians over the clear observations of each month; computes.

    Args:
        cube: Of any sensors.
        pixels: Rows and columns, (P,) both.
        year: Whose months.
    """
    tree = open_cube(cube)
    groups = [tree[name].to_dataset() for name in tree.children if name != "items"]
    groups.sort(key=lambda group: group["data"].attrs["units"] == DECIBELS)  # stable
    bands = [group.sizes["band"] for group in groups]
    optical = sum(
        count
        for count, group in zip(bands, groups, strict=True)
        if group["data"].attrs["units"] != DECIBELS
    )
    values = np.concatenate([_medians(group, pixels, year) for group in groups], axis=2)
    return Medians(values, np.array(optical), np.cumsum(bands)[:-1])


def _medians(
    group: xr.Dataset, pixels: tuple[NDArray[np.intp], NDArray[np.intp]], year: int
) -> NDArray[np.float32]:
    """Of one sensor, (P, month, band)."""
    months = group["time"].values.astype("datetime64[M]")
    found = np.full((len(pixels[0]), MONTHS, group.sizes["band"]), np.nan, np.float32)
    for month in range(MONTHS):
        own = months == np.datetime64(f"{year}-01", "M") + month
        if own.any():
            # A month at a time: all dates of a large region are more than memory need hold.
            data = group["data"][own].transpose("time", "band", "y", "x").values
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
                middle = np.nanmedian(data[:, :, pixels[0], pixels[1]], axis=0)
            found[:, month] = middle.T
    return found


def _flat(values: Array) -> Array:
    return values.reshape(len(values), -1)


RAW: Mapping[str, Callable[[Medians], Array]] = {
    "medians": lambda own: _flat(own.complete),
    "medians, counts": lambda own: np.concatenate([_flat(own.complete), own.counts], axis=1),
    "medians, whitened": lambda own: _flat(own.white),
    "medians, whitened, counts": lambda own: np.concatenate([_flat(own.white), own.counts], axis=1),
    "harmonics": lambda own: raw.harmonics(own.logarithms, own.middle),
}
"""Features of pixels, (P, F)."""
