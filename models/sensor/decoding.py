"""Moments of bands over uncertain latents in one compiled pass over all nodes.

The loops are those of :mod:`terralatent.models.sensor.decoding_loops`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from terralatent.models.compiled import Loop, compiled, source_of
from terralatent.models.sensor import lanes
from terralatent.models.sensor.decoding_loops import GIVEN, LOOPS
from terralatent.models.sensor.lanes import padded
from terralatent.models.sensor.networks import Decoder

__all__ = ["decode_moments"]

Array = npt.NDArray[Any]

NAMES = "\n".join(f"{name} = {value}" for name, value in GIVEN.items())
TEXT = "\n\n".join([NAMES, lanes.TEXT, source_of(LOOPS)])


@torch.no_grad()
def decode_moments(
    decoder: Decoder, mean: Tensor, variance: Tensor, seasons: Tensor, nodes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance of the location, and log mean diagonal of the scale, (R, B).

    As :meth:`~terralatent.models.sensor.model.SensorModel.moments`, but for rounding; on the CPU,
    without gradients. Any rows with any others come out the same.

    Args:
        decoder: Of B bands.
        mean: Of L latents, (R, L), float32.
        variance: The same shape.
        seasons: Sine, cosine and whether the decoder knows them, of row r at r modulo Q, (Q, 3).
        nodes: 1 and -1, the second half the negatives of the first, (2 I, L).
    """
    bands = len(decoder.bias)
    layer, last = (own for own in decoder.network if isinstance(own, torch.nn.Linear))
    constants = torch.cat([last.bias[:bands], last.bias[bands:] + decoder.log_diag])
    second = [
        padded(last.weight[part].numpy(), constants[part].numpy())
        for part in (slice(None, bands), slice(bands, None))
    ]
    made = [np.empty((len(mean), bands), np.float32) for _ in range(3)]
    _loop()(
        *(own.contiguous().numpy() for own in (mean, variance, seasons)),
        np.ascontiguousarray(nodes[: len(nodes) // 2].numpy()),
        padded(decoder.linear.numpy(), decoder.bias.numpy()),
        padded(layer.weight.numpy(), layer.bias.numpy()),
        np.concatenate(second),
        *made,
    )
    location, covariance, diagonal = (torch.from_numpy(own) for own in made)
    return location, covariance, diagonal.log_()


@cache
def _loop() -> Loop:
    """The compiled pass."""
    from numba import types

    rows = types.float32[:, ::1]
    return compiled(TEXT, "decode_all", (rows,) * 10, "decoder")
