"""What of a stored cube an opened one still is, after selections: the store, and a window of it.

Pixels of a cube that was selected in space alone are read from the store by whoever maps them,
with what lies around the window; whatever else was done to it, values count as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from dask.highlevelgraph import HighLevelGraph

from terralatent.pipeline.cube.masking import MaskingRequest
from terralatent.pipeline.store.repository import Store

__all__ = ["Opened", "Selection", "selection_of"]

KEY = "cube"
"""In the encoding of ``data``; what is computed from it has none."""

SELECTING = ("getitem", "rechunk", "transpose")
"""Layers of a dask graph that leave values as they are."""


@dataclass(frozen=True, eq=False)
class Opened:
    """Where the pixels of a sensor were opened; kept in the encoding of its ``data``."""

    store: Store
    snapshot: str
    sensor: str
    masking: MaskingRequest
    arrays: Mapping[str, str]
    """Names of the dask arrays of ``data`` and ``clear`` as they were opened."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Some sensors of a stored cube, all of their dates, in a window of its grid."""

    store: Store
    snapshot: str
    """Empty for plain Zarr."""
    masking: MaskingRequest
    """With which it was opened."""
    sensors: tuple[str, ...]
    window: tuple[slice, slice] | None
    """Rows and columns; None: all of them."""


def selection_of(sensors: Mapping[str, xr.Dataset]) -> Selection | None:
    """Find out whether Datasets are a stored cube's, selected in space alone. Reads coordinates.

    Args:
        sensors: As :func:`~terralatent.pipeline.cube.opened.open_cube` gave them, or what became
            of them.

    Returns:
        None where values were computed, replaced or brought into memory, or dates or bands are
        left out, or pixels within a window.
    """
    origins = {name: _origin(name, data) for name, data in sensors.items()}
    first = next(iter(origins.values()), None)
    if first is None or any(
        own is None or (own.store, own.snapshot) != (first.store, first.snapshot)
        for own in origins.values()
    ):
        return None
    root = first.store.group(kind="cube", snapshot=first.snapshot or None)
    windows = {_window(root[name], data) for name, data in sensors.items()}
    if len(windows) != 1 or None in windows:
        return None
    (edges,) = windows
    assert edges is not None
    top, bottom, left, right = edges
    rows, columns = root[f"{first.sensor}/data"].shape[-2:]
    whole = edges == (0, rows, 0, columns)
    window = None if whole else (slice(top, bottom), slice(left, right))
    return Selection(first.store, first.snapshot, first.masking, tuple(sensors), window)


def _origin(name: str, data: xr.Dataset) -> Opened | None:
    """Where the values of ``data`` were opened, None where they are others by now."""
    if "data" not in data:
        return None
    opened = data["data"].encoding.get(KEY)
    if not isinstance(opened, Opened) or opened.sensor != name:
        return None
    same = all(
        name in data and _is_selected(data[name].data, origin)
        for name, origin in opened.arrays.items()
    )
    return opened if same else None


def _is_selected(values: Any, origin: str) -> bool:
    """Whether an array is made of the one named ``origin`` by selections alone."""
    if not isinstance(values, da.Array):
        return False
    graph, name = values.__dask_graph__(), values.name
    if not isinstance(graph, HighLevelGraph):
        return False
    while name != origin:
        before = graph.dependencies.get(name, set())
        if not name.startswith(SELECTING) or len(before) != 1:
            return False
        (name,) = before
    return True


def _window(group: Any, data: xr.Dataset) -> tuple[int, int, int, int] | None:
    """First and end row, first and end column of a sensor's Dataset on the cube's grid; None where
    it has not all dates and bands, or not all pixels between these."""
    assert isinstance(group, zarr.Group)
    for name, kind in (("time", "datetime64[us]"), ("band", str)):
        stored: Any = np.asarray(group[name][...])
        stored = stored.astype(kind) if name == "time" else stored.astype(object).astype(str)
        if name not in data["data"].dims or not np.array_equal(data[name].values, stored):
            return None
    edges: list[int] = []
    for axis in ("y", "x"):
        stored = np.asarray(group[axis][...])
        own = data[axis].values
        if own.ndim != 1 or not own.size:
            return None
        place = np.flatnonzero(stored == own[0])
        if not place.size or not np.array_equal(stored[place[0] : place[0] + own.size], own):
            return None
        edges += [int(place[0]), int(place[0]) + own.size]
    return edges[0], edges[1], edges[2], edges[3]
