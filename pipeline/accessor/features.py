"""What a pixel is described by: all means of a Dataset, and their deviations, one after another."""

from __future__ import annotations

from itertools import product

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.accessor.kinds import require

__all__ = ["OPENED", "at_pixels", "features_of", "opened"]

OPENED = ("latents", "annual", "bands")
"""Kinds that have features."""

AXES = {"latents": "latent", "annual": "component", "bands": "band"}


def opened(source: str | object) -> xr.Dataset:
    """Open latents, annual vectors or bands by their path; a Dataset is itself. Reads no pixels.

    Raises:
        InputError: If it is another store, or none.
    """
    if isinstance(source, xr.Dataset):
        return source
    from terralatent.pipeline.embeddings.opened import open_annual
    from terralatent.pipeline.mapping.opened import open_bands, open_latents
    from terralatent.pipeline.store.repository import Store

    store = Store.of(source)  # type: ignore[arg-type]
    kind = str(store.group() and store.about().get("kind"))
    openers = {"latents": open_latents, "annual": open_annual, "bands": open_bands}
    if kind not in openers:
        raise InputError(
            f"{store} is a {kind} store; latents, annual vectors or decoded bands are wanted here."
        )
    return openers[kind](store)


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
