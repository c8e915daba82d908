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

    def image(self, data: xr.DataArray) -> NDArray[np.float32]:
        """Return (y, x, 3) in the units of ``data``, dims (band, y, x). Computes."""
        channels = [np.asarray(data.sel(band=band).values, dtype=np.float32) for band in self.bands]
        if len(channels) == 2:
            channels.append(channels[0] - channels[1])
        return np.stack(channels, axis=-1)


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
