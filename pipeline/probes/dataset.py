"""What a pixel is described by: all means of a Dataset, and their deviations, one after another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import odc.geo.xr  # noqa: F401  (gives .odc)
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.kinds import require

__all__ = ["OPENED", "DatasetFeatures", "at_pixels", "features_of", "grid_under"]

OPENED = ("latents", "annual", "bands")
"""Kinds that have features."""

BLOCK = 256
"""Pixels along y and x of the chunks of what is in memory."""

AXES = {"latents": "latent", "annual": "component", "bands": "band"}


def features_of(data: xr.Dataset, method: str, *, with_std: bool = False) -> xr.DataArray:
    """The features of every pixel, (feature, y, x), float32, NaN outside every scene; lazy.

    Dates are the outer order, latents (components, bands) the inner one; then the same of the
    standard deviations, of annual vectors their logarithms: the order in which ``classify`` has
    them. All features of a pixel are in one chunk.

    Args:
        data: Latents, annual vectors or decoded bands, or a part of them.
        method: What wants them, for the message.
        with_std: Whether standard deviations follow the means.

    Raises:
        InputError: If it is anything else.
    """
    kind = require(data, method, *OPENED)
    parts, names = [], []
    for variable in ("mean", *(["std_signal" if kind == "bands" else "std"] if with_std else [])):
        array = data[variable]
        order = ("time", AXES[kind], "y", "x")
        array = array.expand_dims([dim for dim in order if dim not in array.dims])
        array = array.transpose(*order)
        if variable == "std" and kind == "annual":
            array, variable = array.copy(data=np.log(array.data)), "log_std"
        parts.append(_flat(array))
        names += [
            f"{variable} {str(date)[:10]} {name}"
            for date, name in product(array["time"].values, array[AXES[kind]].values)
        ]
    features = xr.concat(parts, "feature") if parts[1:] else parts[0]
    if features.chunks:
        features = features.chunk({"feature": -1})
    return features.assign_coords(feature=names).rename("features")


def grid_under(data: xr.Dataset) -> GeoBox:
    """The pixels of what was opened. Reads none.

    Raises:
        InputError: If its coordinates are no regular grid with a CRS.
    """
    geobox = data.odc.geobox if {"y", "x"} <= set(data.dims) else None
    if not isinstance(geobox, GeoBox) or geobox.crs is None:
        raise InputError(
            "This Dataset has no regular grid of y and x with a CRS; keep spatial_ref, and select "
            "pixels by slices."
        )
    return geobox


@dataclass(frozen=True, eq=False)
class DatasetFeatures:
    """Features of every pixel of a Dataset, as :class:`~.sample.PixelFeatures`."""

    array: xr.DataArray
    """(feature, y, x), lazy, see :func:`features_of`; all features of a pixel in one chunk."""

    @classmethod
    def of(cls, data: xr.Dataset, method: str, *, with_std: bool) -> DatasetFeatures:
        """Those of latents, annual vectors or decoded bands. Reads no pixels.

        Raises:
            InputError: If it is none of these.
        """
        array = features_of(data, method, with_std=with_std)
        if not array.chunks:
            array = array.chunk({"feature": -1, "y": BLOCK, "x": BLOCK})
        return cls(array)

    @property
    def place(self) -> str:
        """For messages."""
        return "the Dataset"

    @property
    def grid(self) -> GeoBox:
        """Its pixels."""
        return grid_under(self.array.to_dataset(name="features"))

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """Read the features of single pixels, (pixel, feature); computes their chunks."""
        return at_pixels(self.array, rows, columns)


def at_pixels(
    features: xr.DataArray, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.float32]:
    """The features of some pixels, (pixel, feature), float32. Computes: reads their chunks."""
    places = {name: xr.DataArray(at, dims="pixel") for name, at in (("y", rows), ("x", columns))}
    found: NDArray[np.float32] = features.isel(places).transpose("pixel", "feature").values
    return found


def _flat(array: xr.DataArray) -> xr.DataArray:
    """Both leading dims as one, in their order."""
    values = array.data.reshape((-1, *array.shape[2:]))
    kept = {name: own for name, own in array.coords.items() if set(own.dims) <= {"y", "x"}}
    return xr.DataArray(values, dims=("feature", "y", "x"), coords=kept)
