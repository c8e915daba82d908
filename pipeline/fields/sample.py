"""Pixels that stand for a field: so many of each at most, evenly spread, the same in any tiling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FieldPixels", "spread"]

STEPS = (0.5698402909980532, 0.7548776662466927)
"""By how much the threshold of a pixel rises from row to row and from column to column, modulo 1:
the powers of the plastic number's inverse, with which few pixels are spread as evenly as many.

Source: The unreasonable effectiveness of quasirandom sequences (Roberts, 2018).
"""


@dataclass(frozen=True, eq=False)
class FieldPixels:
    """Some pixels of the grid, and which field each belongs to."""

    rows: NDArray[np.intp]
    """Of the grid, (n,)."""

    columns: NDArray[np.intp]
    """Likewise."""

    field: NDArray[np.integer]
    """(n,)"""

    def __len__(self) -> int:
        """The number of pixels."""
        return len(self.rows)


def spread(
    rows: NDArray[np.integer], columns: NDArray[np.integer], share: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Choose pixels by what they are alone, so that no tiling matters.

    Args:
        rows: Of the grid, any shape.
        columns: The same shape.
        share: Of the pixels around that are to be chosen; all from 1 on. The same shape.

    Returns:
        Which are.
    """
    threshold = (STEPS[0] * rows + STEPS[1] * columns) % 1.0
    chosen: NDArray[np.bool_] = threshold < share
    return chosen
