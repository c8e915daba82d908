"""Annual vectors opened as dask arrays. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from terralatent.pipeline.mapping.opened import open_result
from terralatent.pipeline.store.repository import Store

__all__ = ["annual_dataset", "open_annual"]


def open_annual(
    store: str | Path | Store, *, snapshot: str | None = None, level: int = 0
) -> xr.Dataset:
    """Open annual vectors as dask arrays; reads no pixels.

    Args:
        store: Path or URL.
        snapshot: Of the store, the newest by default.
        level: Of its overviews, whose pixels are 2^level times as wide; 0 is the store's own.

    Returns:
        ``mean`` and ``std`` (time, component, y, x), float32, NaN outside every scene; the unit is
        the standard deviation over what the model's map was fitted to. ``observations`` (time,
        sensor, y, x), uint8: clear acquisitions in each window. ``time`` is the first day of a
        window, ascending; ``window_end`` (time) the day after its last, ``cube_snapshot`` (time)
        what of the cube it was made of. The CRS is known to ``.rio`` and ``.odc``.

    Raises:
        InputError: If there is no such store.

    Examples:
        >>> import terralatent as tl
        >>> vectors = tl.open_annual("annual")
        >>> vectors["mean"].shape, str(vectors["time"].values[0])[:10]
        ((1, 3, 18, 18), '2017-08-01')
    """
    opened = open_result(store, "annual", snapshot=snapshot, level=level)
    root = Store.of(store).group(kind="annual", snapshot=snapshot)
    edges = np.asarray(root["time_bnds"][...]).astype("datetime64[us]")
    snapshots = np.asarray(root["cube_snapshot"][...]).astype(object).astype(str)
    return annual_dataset(opened, edges[:, 1], snapshots)


def annual_dataset(
    opened: xr.Dataset, ends: NDArray[np.datetime64], snapshots: Sequence[str] | NDArray[np.str_]
) -> xr.Dataset:
    """The arrays of annual vectors as :func:`open_annual` gives them. Computes nothing.

    Args:
        opened: ``mean``, ``log_std`` and ``observations``.
        ends: Of each window the day after its last, (time,).
        snapshots: Of the cube, of which each was made, (time,).
    """
    logs = opened["log_std"]
    std = logs.copy(data=np.exp(logs.data))
    std.attrs = {
        "long_name": "posterior standard deviation of each component",
        "units": "1",
    }
    std.encoding["grid_mapping"] = "spatial_ref"
    found = opened.drop_vars("log_std").assign(std=std)
    found = found[["mean", "std", "observations"]]
    found = found.assign_coords(window_end=("time", ends), cube_snapshot=("time", snapshots))
    return found.isel(time=np.argsort(found["time"].values, kind="stable"))
