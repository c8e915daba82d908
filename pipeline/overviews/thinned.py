"""A bounded part of a map, spread evenly over it: by which colours and clusters are chosen.

It is made of whole squares, so that few chunks are read, and knows the size of the map alone, so
that it is the same however the map is chunked.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["thinned"]

SQUARE = 64
"""Pixels along a side of the squares: what a chunk of a store holds."""

Data = TypeVar("Data", xr.Dataset, xr.DataArray)


def thinned(data: Data, *, squares: int = 4, dates: int = 12) -> Data:
    """At most ``squares`` x ``squares`` squares of pixels, and as many ``dates``. Reads no pixels.

    Args:
        data: With dims y and x, and time where it has one; all of it where it is no larger.
        squares: Along a side.
        dates: Evenly spread from the first to the last.
    """
    chosen = {name: _spread(data.sizes[name], squares) for name in ("y", "x") if name in data.dims}
    if "time" in data.dims:
        count = data.sizes["time"]
        places = np.linspace(0, count - 1, min(count, dates)).round().astype(np.intp)
        chosen["time"] = np.unique(places)
    return data.isel({name: at for name, at in chosen.items() if len(at) < data.sizes[name]})


def _spread(size: int, squares: int) -> NDArray[np.intp]:
    """Pixels along one side, of squares that lie on multiples of their own size."""
    if size <= squares * SQUARE:
        return np.arange(size)
    starts = np.unique(np.linspace(0, size // SQUARE - 1, squares).round().astype(np.intp)) * SQUARE
    return (starts[:, None] + np.arange(SQUARE)).ravel()
