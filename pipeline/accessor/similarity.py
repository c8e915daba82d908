"""How much every pixel is like one place: by the angle of its features, or within their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.accessor.places import Number, Shapes, find_pixels, pixels_in
from terralatent.pipeline.kinds import require

__all__ = ["MEASURES", "similar_to"]

MEASURES = ("cosine", "distance")


def similar_to(
    data: xr.Dataset,
    x: Number | Shapes,
    y: Number | None = None,
    *,
    crs: Any = None,
    by: str = "cosine",
) -> xr.DataArray:
    """See :meth:`terralatent.pipeline.accessor.opened.Opened.similar_to`."""
    kind = require(data, "similar_to", "latents", "annual")
    if by not in MEASURES:
        raise InputError(f"by is {by!r}; give {' or '.join(MEASURES)}.")
    rows, columns = pixels_in(data, x, crs) if y is None else find_pixels(data, x, y, crs)
    # Windows of a year are compared one by one, dates of latents together: they are one series.
    over = ["component"] if kind == "annual" else ["time", "latent"]
    over = [dim for dim in over if dim in data["mean"].dims]
    mean, std = data["mean"], data["std"]
    place, error = _reference(mean, rows, columns), _reference(std**2, rows, columns)
    if not bool(np.isfinite(place).any()):
        raise InputError(
            "There are no values at the place to compare with: it lies outside every scene, or in "
            "a block that is not done."
        )
    if by == "cosine":
        length = ((mean**2).sum(over, skipna=False) * (place**2).sum(over)) ** 0.5
        found = (mean * place).sum(over, skipna=False) / length
        about = {"long_name": "cosine similarity of posterior means", "units": "1"}
    else:
        square = (mean - place) ** 2 / (std**2 + error)
        found = square.mean(over, skipna=False) ** 0.5
        about = {"long_name": "distance in standard deviations of its errors", "units": "1"}
    order = [dim for dim in ("time", "y", "x") if dim in found.dims]
    found = found.transpose(*order).astype(np.float32).rename("similarity")
    found.encoding["grid_mapping"] = "spatial_ref"
    return found.assign_attrs(about)


def _reference(
    array: xr.DataArray, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> xr.DataArray:
    """The mean over some pixels, of those that have values. Computes."""
    places = {name: xr.DataArray(at, dims="pixel") for name, at in (("y", rows), ("x", columns))}
    return array.isel(places).mean("pixel").drop_vars(["y", "x"], errors="ignore").compute()
