"""How means and standard deviations of latents are kept: as integers, or as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor

from terralatent.pipeline.region import Block
from terralatent.pipeline.store.arrays import TIME_CHUNK

__all__ = [
    "MEAN_END",
    "MEAN_FILL",
    "MEAN_STEP",
    "STD_END",
    "STD_FILL",
    "STD_STEP",
    "blank",
    "pack",
    "write_dates",
]

MEAN_STEP, STD_STEP = 2.5e-4, 2e-5
"""Packing steps, in prior standard deviations: below a tenth of a posterior std of 0.0025."""

MEAN_FILL, STD_FILL = -32768, 65535
MEAN_END, STD_END = 32767, 65534
"""Largest packed values: a mean of 8.19 prior standard deviations, a std of 1.31."""


def write_dates(
    array: zarr.Array[Any], dates: slice, block: Block, values: NDArray[np.generic]
) -> None:
    """Write the dates of a block shard by shard: Zarr compresses all it is given at once."""
    for first in range(0, len(values), TIME_CHUNK):
        shard = values[first : first + TIME_CHUNK]
        start = dates.start + first
        array[start : start + len(shard), :, block.y, block.x] = shard


def blank(shape: tuple[int, ...], packed: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return means and standard deviations of a block outside every scene."""
    if packed:
        return np.full(shape, MEAN_FILL, np.int16), np.full(shape, STD_FILL, np.uint16)
    return np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)


def pack(values: Tensor, step: float, end: int, packed: bool) -> tuple[NDArray[Any], int]:
    """Return what is stored for ``values`` (n, Q, L), as (Q, L, n), and how many did not fit.

    Packed where they lie, so that a GPU hands over no more than is stored.
    """
    values = values.permute(1, 2, 0)
    if not packed:
        return values.cpu().numpy(), 0
    steps = (values * (1.0 / step)).round_()
    outside = int((steps.abs() > end).sum())
    return steps.clamp_(-end, end).to(torch.int32).cpu().numpy(), outside
