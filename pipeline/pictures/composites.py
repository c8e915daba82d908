"""Which bands make a picture of a sensor, and which stand for it in a plot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["Composite", "composite_of", "plotted_bands", "units_of"]

TRUE_COLOUR = ("B04", "B03", "B02")
RADAR = ("vv", "vh")
PLOTTED = (("B03", "B04", "B08", "B11"), ("B03", "B04", "B05", "B06"), RADAR)
"""Green, red, near and short-wave infrared of Sentinel-2 and of Landsat; radar."""


class Composite:
    """Three channels from the bands of one sensor."""

    def __init__(self, bands: Sequence[str]) -> None:
        known = tuple(str(band) for band in bands)
        self.bands: tuple[str, ...]
        if set(TRUE_COLOUR) <= set(known):
            self.bands, self.title = TRUE_COLOUR, "true colour (B04, B03, B02)"
        elif set(RADAR) <= set(known):
            self.bands, self.title = RADAR, "radar (VV, VH, VV − VH)"
        else:
            self.bands = (known * 3)[:3]
            self.title = f"colours ({', '.join(self.bands)})"

    def images(self, data: xr.DataArray) -> list[NDArray[np.float32]]:
        """Return (y, x, 3) of each date in the units of ``data``, dims (time, band, y, x).

        Computes, all dates at once: each chunk is read once, however many of them it holds.
        """
        ordered = data.sel(band=list(self.bands)).transpose("time", "y", "x", "band")
        channels = np.asarray(ordered.values, dtype=np.float32)
        if len(self.bands) == 2:
            channels = np.concatenate([channels, channels[..., :1] - channels[..., 1:]], axis=-1)
        return list(channels)


def composite_of(data: xr.DataArray) -> Composite:
    """Choose the composite for ``data`` by its band names. Reads no pixels."""
    return Composite([str(band) for band in data.band.values])


def plotted_bands(bands: Sequence[str], most: int = 4) -> list[str]:
    """Choose at most ``most`` of ``bands`` to stand for their sensor in a plot."""
    known = next((chosen for chosen in PLOTTED if set(chosen) <= set(bands)), bands)
    return list(known)[:most]


def units_of(data: xr.DataArray) -> str:
    """Return the units of ``data`` in words for a plot. Reads no pixels."""
    units = str(data.attrs.get("units", ""))
    return "reflectance" if units == "1" else units
