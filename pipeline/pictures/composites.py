"""Which bands make a picture of a sensor, and which stand for it in a plot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.indices import INDICES, index_of
from terralatent.pipeline.pictures.mosaic import colour_ends, stretch

__all__ = ["Composite", "band_or_index", "composite_of", "plotted_bands", "units_of"]

TRUE_COLOUR = ("B04", "B03", "B02")
RADAR = ("vv", "vh")
PLOTTED = (("B03", "B04", "B08", "B11"), ("B03", "B04", "B05", "B06"), RADAR)
"""Green, red, near and short-wave infrared of Sentinel-2 and of Landsat; radar."""

COLOURS = ("red", "green", "blue")

Image = NDArray[np.float32]


class Composite:
    """Three channels from the bands of one sensor."""

    def __init__(self, bands: Sequence[str]) -> None:
        known = tuple(str(band) for band in bands)
        self.bands: tuple[str, ...]
        if set(TRUE_COLOUR) <= set(known):
            self.bands, self.kind = TRUE_COLOUR, "true colour"
        elif set(RADAR) <= set(known):
            self.bands, self.kind = RADAR, "radar"
        else:
            self.bands, self.kind = (known * 3)[:3], "colours"

    @property
    def is_radar(self) -> bool:
        """Whether the channels are backscatter, of which none is as bright as another."""
        return self.bands == RADAR

    @property
    def channels(self) -> tuple[str, ...]:
        """What red, green and blue are."""
        return ("VV", "VH", "VV − VH") if self.is_radar else self.bands

    @property
    def title(self) -> str:
        """What it is, and of what."""
        return f"{self.kind} ({', '.join(self.channels)})"

    def images(self, data: xr.DataArray) -> list[Image]:
        """Return (y, x, 3) of each date in the units of ``data``, dims (time, band, y, x).

        Computes, all dates at once: each chunk is read once, however many of them it holds.
        """
        ordered = data.sel(band=list(self.bands)).transpose("time", "y", "x", "band")
        channels = np.asarray(ordered.values, dtype=np.float32)
        if self.is_radar:
            channels = np.concatenate([channels, channels[..., :1] - channels[..., 1:]], axis=-1)
        return list(channels)

    def drawn(
        self, images: Sequence[Image], units: str, clear: Sequence[NDArray[np.bool_]] | None = None
    ) -> tuple[list[Image], str]:
        """Bring :meth:`images` to colours between 0 and 1.

        Bands of one unit share one stretch, so that what is grey on the ground is grey.

        Args:
            images: In the units of the data.
            units: Their name.
            clear: Pixels of each that set the ends of colours, (y, x); all by default.

        Returns:
            The colours, and a legend: which channel is which colour, and from where to where.
        """
        ends = colour_ends(images, clear, shared=not self.is_radar)
        key = ", ".join(f"{c} {name}" for c, name in zip(COLOURS, self.channels, strict=True))
        if not self.is_radar:
            return stretch(images, ends), f"{self.kind}: {key}, each {_between(ends[:, 0], units)}"
        key = ", ".join(
            f"{colour} {name} {_between(own, units)}"
            for colour, name, own in zip(COLOURS, self.channels, ends.T, strict=True)
        )
        return stretch(images, ends), f"{self.kind}: {key}"


def composite_of(data: xr.DataArray) -> Composite:
    """Choose the composite for ``data`` by its band names. Reads no pixels."""
    return Composite([str(band) for band in data.band.values])


def band_or_index(data: xr.DataArray, name: str, sensor: str) -> xr.DataArray:
    """A band of ``data``, or an index of its bands, without dimension ``band``; lazy as it is.

    Raises:
        InputError: If there is neither, or the sensor lacks a band of the index.
    """
    known = [str(band) for band in data.band.values]
    if name in known:
        return data.sel(band=name, drop=True)
    if name.lower() in INDICES:
        return index_of(data, name, sensor)
    raise InputError(
        f"There is no band {name!r} here; there are {', '.join(known)}, and the indices "
        f"{', '.join(INDICES)}."
    )


def plotted_bands(bands: Sequence[str], most: int = 4) -> list[str]:
    """Choose at most ``most`` of ``bands`` to stand for their sensor in a plot."""
    known = next((chosen for chosen in PLOTTED if set(chosen) <= set(bands)), bands)
    return list(known)[:most]


def units_of(data: xr.DataArray) -> str:
    """Return the units of ``data`` in words for a plot. Reads no pixels."""
    if data.name in INDICES:
        return str(data.name).upper()
    units = str(data.attrs.get("units", ""))
    return "reflectance" if units == "1" else units


def _between(ends: NDArray[np.float64], units: str) -> str:
    if not np.isfinite(ends).all():
        return "without a value"
    digits = 0 if np.ptp(ends) > 2 else 2
    low, high = (f"{end:.{digits}f}".replace("-", "−") for end in ends)
    return f"{low} to {high} {units}".rstrip()
