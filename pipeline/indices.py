"""Spectral indices of reflectance: NDVI, NDWI, NDRE and EVI, and how unsure they are.

Every index is a quotient of two weighted sums of bands,

    I = (sum_c n_c b_c) / (sum_c d_c b_c + d_0),

where c is a colour. Which band of a sensor has that colour is in :data:`COLOURS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add

import numpy as np
import xarray as xr

from terralatent.catalogs.errors import InputError

__all__ = ["COLOURS", "INDICES", "Index", "bands_of", "index_of", "index_std"]

COLOURS: Mapping[str, Mapping[str, str]] = {
    "sentinel-2-l2a": {
        "blue": "B02", "green": "B03", "red": "B04", "red edge": "B05", "nir": "B08"
    },
    "landsat-c2-l2": {"blue": "B02", "green": "B03", "red": "B04", "nir": "B05"},
    "": {"blue": "blue", "green": "green", "red": "red", "red edge": "rededge1", "nir": "nir"},
}  # fmt: skip
"""The band of each colour by sensor; of others, which are not known here, by STAC's own names."""

SENTINEL_2_ALONE = {"B08", "B8A", "B11", "B12"}
"""Bands that no Landsat has under these names; B05 is red edge of the one, near infrared of the
other."""


@dataclass(frozen=True)
class Index:
    """A quotient of two weighted sums of reflectance."""

    title: str
    numerator: Mapping[str, float]
    """Weights by colour."""

    denominator: Mapping[str, float]
    """Weights by colour."""

    constant: float = 0.0
    """Added to the denominator, as reflectance."""

    colours: tuple[str, ...] = field(init=False)
    """Those that it is made of."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "colours", tuple({**self.numerator, **self.denominator}))


def _difference(title: str, first: str, second: str) -> Index:
    """The normalised difference of two colours."""
    return Index(title, {first: 1.0, second: -1.0}, {first: 1.0, second: 1.0})


INDICES: Mapping[str, Index] = {
    "ndvi": _difference("normalised difference vegetation index", "nir", "red"),
    "ndwi": _difference("normalised difference water index", "green", "nir"),
    "ndre": _difference("normalised difference red edge index", "nir", "red edge"),
    "evi": Index(
        "enhanced vegetation index",
        {"nir": 2.5, "red": -2.5},
        {"nir": 1.0, "red": 6.0, "blue": -7.5},
        constant=1.0,
    ),
}
"""By name: Rouse et al. 1974; McFeeters 1996 (open water, not the moisture index of Gao 1996);
Barnes et al. 2000; Huete et al. 2002."""


def bands_of(data: xr.DataArray, name: str, sensor: str | None = None) -> dict[str, str]:
    """Find the bands of an index. Reads no pixels.

    Args:
        data: Any array with a coordinate ``band``.
        name: One of :data:`INDICES`, in any case.
        sensor: Whose bands they are, where it is known; else ``data.attrs["sensor"]``, the
            coordinate ``platform`` or, where there is neither, the names of bands decide.

    Returns:
        The band of each colour of the index.

    Raises:
        InputError: If there is no such index, the sensor cannot be known, or it lacks a band.
    """
    if name.lower() not in INDICES:
        raise InputError(f"There is no index {name!r}; there are {', '.join(INDICES)}.")
    index = INDICES[name.lower()]
    known = [str(band) for band in np.atleast_1d(data["band"].values)]
    by_colour = COLOURS[_numbering(data, set(known), sensor or str(data.attrs.get("sensor", "")))]
    missing = [
        f"{colour} ({by_colour[colour]})" if colour in by_colour else colour
        for colour in index.colours
        if by_colour.get(colour) not in known
    ]
    if missing:
        raise InputError(
            f"{name.upper()} is made of {', '.join(index.colours)}; there is no band for "
            f"{', '.join(missing)} here, but {', '.join(known)}."
        )
    return {colour: by_colour[colour] for colour in index.colours}


def index_of(data: xr.DataArray, name: str, sensor: str | None = None) -> xr.DataArray:
    """Compute an index of reflectance; lazy where ``data`` is.

    Args:
        data: (…, band, …), reflectance (no digital numbers: EVI has a constant).
        name: One of :data:`INDICES`, in any case.
        sensor: See :func:`bands_of`.

    Returns:
        ``data`` without its dimension ``band``, of its dtype, unitless; NaN where a band is, and
        where the denominator is not positive. Of a mean of bands it is the index of the mean, not
        the mean of the index.

    Raises:
        InputError: As :func:`bands_of` does.
    """
    colours = _by_colour(data, bands_of(data, name, sensor))
    value, _ = _quotient(colours, INDICES[name.lower()])
    return _named(value, name, INDICES[name.lower()].title)


def index_std(
    mean: xr.DataArray, std: xr.DataArray, name: str, sensor: str | None = None
) -> xr.DataArray:
    """Compute the standard deviation of an index by first-order propagation; lazy as ``mean`` is.

        var(I) = sum_c ((n_c - I d_c) / D)^2 var(b_c)

    at the means, D the denominator. What is not known is how errors of two bands of a pixel go
    together: they count as independent. Those of a decoded surface come from the same latents,
    so that the result is too wide where errors move the index's bands alike, and too narrow where
    they move them apart. It holds where ``std`` is small beside the denominator.

    Args:
        mean: (…, band, …), reflectance.
        std: Standard deviations of it, the same shape and units.
        name: One of :data:`INDICES`, in any case.
        sensor: See :func:`bands_of`.

    Returns:
        As :func:`index_of`.

    Raises:
        InputError: As :func:`bands_of` does.
    """
    bands, index = bands_of(mean, name, sensor), INDICES[name.lower()]
    value, denominator = _quotient(_by_colour(mean, bands), index)
    variance = xr.zeros_like(value)
    for colour, own in _by_colour(std, bands).items():
        weight = index.numerator.get(colour, 0.0) - value * index.denominator.get(colour, 0.0)
        variance = variance + (weight / denominator * own) ** 2
    title = f"standard deviation of the {index.title}"
    return _named(variance**0.5, f"{name}_std", title)


def _by_colour(data: xr.DataArray, bands: Mapping[str, str]) -> dict[str, xr.DataArray]:
    return {colour: data.sel(band=band, drop=True) for colour, band in bands.items()}


def _quotient(
    colours: Mapping[str, xr.DataArray], index: Index
) -> tuple[xr.DataArray, xr.DataArray]:
    """The index, and its denominator where that is positive, NaN elsewhere."""
    below = _weighted(colours, index.denominator) + index.constant
    denominator = below.where(below > 0)
    return _weighted(colours, index.numerator) / denominator, denominator


def _weighted(colours: Mapping[str, xr.DataArray], weights: Mapping[str, float]) -> xr.DataArray:
    return reduce(add, (weight * colours[colour] for colour, weight in weights.items()))


def _numbering(data: xr.DataArray, bands: set[str], sensor: str) -> str:
    """The key of :data:`COLOURS` that the names of bands follow."""
    if sensor in COLOURS and sensor:
        return sensor
    if not any(band in bands for band in COLOURS["sentinel-2-l2a"].values()):
        return ""
    platforms = {str(name).lower() for name in np.atleast_1d(data.coords.get("platform", ""))}
    for known in ("sentinel-2", "landsat"):
        if platforms and all(name.startswith(known) for name in platforms):
            return next(key for key in COLOURS if key.startswith(known))
    if bands & SENTINEL_2_ALONE:
        return "sentinel-2-l2a"
    if "B05" not in bands or {"B06", "B07"} <= bands:
        return "landsat-c2-l2"
    raise InputError(
        f"Bands {', '.join(sorted(bands))} may be of Sentinel-2 or of Landsat, which count them "
        "differently; name the sensor=, such as landsat-c2-l2."
    )


def _named(value: xr.DataArray, name: str, title: str) -> xr.DataArray:
    return value.rename(name.lower()).assign_attrs(long_name=title, units="1")
