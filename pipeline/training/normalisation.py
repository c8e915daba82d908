"""Centre and spread of each band: what the model divides out, kept in its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from terralatent.models.observations import Observations

__all__ = ["centre_and_spread"]

MAD_TO_STD = 1.4826
SMALLEST_SPREAD = 1e-4


def centre_and_spread(pools: Sequence[Observations]) -> tuple[Tensor, Tensor]:
    """Median and 1.4826 x median absolute deviation of each band's valid values.

    Robust, because some clouds escape every mask. A band without a valid value gets 0 and 1, one
    that hardly varies a spread of 1e-4, so that a division never overflows.

    Args:
        pools: Pixels of one sensor, one entry for each cube; training acquisitions only.

    Returns:
        Two tensors with shape (B,), float32, in the bands' physical units.
    """
    bands = pools[0].values.shape[-1]
    centre, spread = torch.zeros(bands), torch.ones(bands)
    for band in range(bands):
        values = torch.cat([pool.values[..., band][pool.valid[..., band]] for pool in pools])
        if values.numel():
            centre[band] = values.median()
            deviation = (values - centre[band]).abs().median()
            spread[band] = (MAD_TO_STD * deviation).clamp_min(SMALLEST_SPREAD)
    return centre, spread
