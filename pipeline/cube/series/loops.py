"""Passes over the integers of a window that numba compiles: each value is read once."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from terralatent.models.compiled import Loop, compiled, source_of

__all__ = ["find_data", "nearer_days", "plain", "turned"]

Array = npt.NDArray[Any]

TILE = 64
"""Pixels that are turned at a time, so that reading and writing stay in the cache."""


def turned(stored: Array) -> Array:
    """Values as they are stored, (T, B, N), in the order of series, (N, T, B)."""
    stored = plain(stored)
    dates, bands, pixels = stored.shape
    series = np.empty((pixels, dates, bands), stored.dtype)
    _loop("turn", str(stored.dtype))(stored, series)
    return series


def plain(values: Array) -> Array:
    """Values as compiled code takes them, copied where they are not so: of this machine's byte
    order, one after the other, and writable, though nothing is written."""
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return np.require(native, requirements=["C", "W"])


def find_data(packed: Array, fill_value: float) -> npt.NDArray[np.bool_]:
    """Where any band of (N, T, B) is not the fill value, (N, T)."""
    packed = plain(packed)
    there = np.zeros(packed.shape[:2], np.bool_)
    nothing = np.array([fill_value]).astype(packed.dtype)
    _loop("mark", str(packed.dtype))(packed, nothing, there.view(np.uint8))
    return there


def nearer_days(
    observed: npt.NDArray[np.bool_],
    days: npt.NDArray[np.float64],
    asked: npt.NDArray[np.float64],
    nearest: npt.NDArray[np.float32],
) -> None:
    """Lower days to the nearest observation where one of a sensor is nearer.

    Args:
        observed: (N, T).
        days: Of its dates, ascending, (T,).
        asked: Days from which distances are, (Q,).
        nearest: (Q, N); written.
    """
    after = np.searchsorted(days, asked)
    seen = np.ascontiguousarray(observed).view(np.uint8)
    _loop("near", "float64")(seen, np.ascontiguousarray(days), asked, after, nearest)


def turn(stored: Array, series: Array) -> None:
    """Write (T, B, N) as (N, T, B)."""
    pixels, dates, bands = series.shape
    for first in range(0, pixels, TILE):
        for t in range(dates):
            for n in range(first, min(first + TILE, pixels)):
                for b in range(bands):
                    series[n, t, b] = stored[t, b, n]


def mark(packed: Array, nothing: Array, there: Array) -> None:
    """Write 1 where any band is another value than ``nothing``."""
    pixels, dates, bands = packed.shape
    for n in range(pixels):
        for t in range(dates):
            for b in range(bands):
                if packed[n, t, b] != nothing[0]:
                    there[n, t] = 1
                    break


def near(observed: Array, days: Array, asked: Array, after: Array, nearest: Array) -> None:
    """Search from each day asked for backwards and forwards, pixel by pixel."""
    pixels, dates = observed.shape
    for n in range(pixels):
        for q in range(len(asked)):
            t = after[q] - 1
            while t >= 0 and observed[n, t] == 0:
                t -= 1
            if t >= 0:
                nearest[q, n] = min(nearest[q, n], np.float32(asked[q] - days[t]))
            t = after[q]
            while t < dates and observed[n, t] == 0:
                t += 1
            if t < dates:
                nearest[q, n] = min(nearest[q, n], np.float32(days[t] - asked[q]))


TEXT = f"TILE = {TILE}\n\n" + source_of((turn, mark, near))


@cache
def _loop(name: str, dtype: str) -> Loop:
    """One of the passes, over values of a dtype."""
    from numba import types

    value = getattr(types, dtype)
    flags = types.uint8[:, ::1]
    signatures = {
        "turn": (value[:, :, ::1], value[:, :, ::1]),
        "mark": (value[:, :, ::1], value[::1], flags),
        "near": (flags, value[::1], value[::1], types.int64[::1], types.float32[:, ::1]),
    }
    return compiled(TEXT, name, signatures[name], f"series_{name}_{dtype}")
