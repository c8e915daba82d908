"""What is missing of series: months at random, a window of them, a sensor, or the rest of a year.

The same for all pixels' features, whoever makes them; labelled pixels lack as much as those that
are mapped. Months that the table lacks by itself stay lacking.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["IN_SEASON", "MISSING", "NONE", "hide"]

NONE = "none"
SHARES = {"30 %": 0.3, "50 %": 0.5, "70 %": 0.7}
WINDOW, WINDOW_MONTHS = "3 months", 3
NO_RADAR, NO_OPTICAL = "no radar", "no optical"
MISSING = (NONE, *SHARES, WINDOW, NO_RADAR, NO_OPTICAL)

IN_SEASON = {f"until {month}": month for month in (4, 5, 6, 7, 8, 9, 10)}
"""Months of the year that are known: until the end of that one."""

EARLIEST, LATEST = 2, 7
"""Place of the first month of a window: from March to August, where crops differ."""


def hide(kind: str, pixels: int, months: int, *, seed: int) -> NDArray[np.bool_]:
    """Say what is hidden, (N, month, sensor); sensors are optical, then radar.

    Args:
        kind: One of :data:`MISSING` or :data:`IN_SEASON`.
        pixels: N.
        months: Of a series.
        seed: Of the draws, which are each pixel's own.
    """
    random = np.random.default_rng([seed, 17])
    hidden = np.zeros((pixels, months, 2), dtype=bool)
    if kind in SHARES:
        order = random.random((pixels, months)).argsort(axis=1).argsort(axis=1)
        hidden |= (order < round(SHARES[kind] * months))[..., None]
    elif kind == WINDOW:
        first = random.integers(EARLIEST, LATEST + 1, pixels)[:, None]
        month = np.arange(months)
        hidden |= ((month >= first) & (month < first + WINDOW_MONTHS))[..., None]
    elif kind in IN_SEASON:
        hidden[:, IN_SEASON[kind] :] = True
    elif kind == NO_RADAR:
        hidden[..., 1] = True
    elif kind == NO_OPTICAL:
        hidden[..., 0] = True
    elif kind != NONE:
        raise ValueError(f"nothing is called {kind!r}; there are {[*MISSING, *IN_SEASON]}.")
    return hidden
