"""Observations as a store has them, encoded in one compiled pass: integers go in, sites come out.

Nothing of shape (pixel, time, band) is made. The loops are those of
:mod:`terralatent.models.sensor.encoding_loops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from terralatent.models.compiled import Loop, compiled, source_of
from terralatent.models.observations import PackedObservations
from terralatent.models.sensor import lanes
from terralatent.models.sensor.encoding_loops import GIVEN, LOOPS
from terralatent.models.sensor.lanes import LANES, padded
from terralatent.models.sensor.model import SensorModel

__all__ = ["encode_packed", "is_compiled"]

Array = npt.NDArray[Any]

MOST_BANDS = 63
"""Of a sensor: which of them are valid is one number of 64 bits."""

NAMES = "\n".join(f"{name} = {value}" for name, value in GIVEN.items())
TEXT = "\n\n".join([NAMES, lanes.TEXT, source_of(LOOPS)])


def is_compiled(sensor: SensorModel) -> bool:
    """Whether :func:`encode_packed` can encode what a sensor sees: on the CPU, in float32."""
    encoder = sensor.encoder
    return (
        encoder.linear.device.type == "cpu"
        and encoder.network_dtype == torch.float32
        and len(sensor.config.bands) <= MOST_BANDS
    )


@torch.no_grad()
def encode_packed(
    sensor: SensorModel, observations: PackedObservations, places: Tensor, w: Tensor, eta: Tensor
) -> None:
    """Encode all observations of a sensor, and lay them on the union of days; on the CPU.

    The same as :meth:`~terralatent.models.sensor.model.SensorModel.encode` of them unpacked, but
    for rounding, and the same bits whatever pixels come with them. No gradients.

    Args:
        sensor: Of B bands, one that :func:`is_compiled`.
        observations: Of N pixels on T days.
        places: Where the T days are along all, (T,).
        w: Precision, (N, T', L), float32; written where there is an observation.
        eta: Information, the same shape.
    """
    encoder, bands, latents = sensor.encoder, len(sensor.config.bands), w.shape[2]
    context = sensor.context(observations).numpy()
    layers = _layers(sensor, latents)
    sizes = [layer.shape[1] - 1 for layer in layers]  # of their inputs
    rows = [*sizes, 3 * len(layers[0])]
    fixed = (
        *(observations.packed, observations.clear.view(np.uint8), observations.distance),
        *(observations.pixels, observations.bands, np.array(observations.numbers, np.float32)),
        np.stack([sensor.centre.numpy(), sensor.spread.numpy()]),
        *(context, places.numpy()),
    )
    given = (
        *layers,
        encoder.share.numpy(),
        *(encoder.fill is not None, encoder.precision_cap),
        *(np.zeros((size, LANES), np.float32) for size in rows),
        *(w.numpy(), eta.numpy()),
    )
    loop = _loop(str(observations.packed.dtype))
    patterns = np.zeros(0, np.uint64)
    guesses = np.zeros((0, bands, bands + 1), np.float32)
    start, end = 0, len(observations) * len(observations.days)
    while start < end:
        start = loop(start, *fixed, patterns, guesses, *given)
        if start < 0:  # what is valid there was not met before
            start = -start - 1
            pattern = _pattern_at(observations, start)
            patterns = np.append(patterns, np.uint64(sum(1 << int(b) for b in pattern)))
            guesses = np.concatenate([guesses, _guess(sensor, pattern)[None]])


def _layers(sensor: SensorModel, latents: int) -> list[Array]:
    """Weights of the linear part and of the three layers of a network, padded, constants last."""
    encoder = sensor.encoder
    first, second, third = (
        (layer.weight.numpy(), layer.bias.numpy())
        for layer in encoder.network
        if isinstance(layer, torch.nn.Linear)
    )
    logits = encoder.log_precision.numpy()
    halves = [
        padded(third[0][:latents], third[1][:latents]),
        padded(third[0][latents:], third[1][latents:] + logits),
    ]
    return [
        padded(encoder.linear.numpy(), encoder.bias.numpy()),
        padded(*first),
        padded(*second),
        np.concatenate(halves),
    ]


def _pattern_at(observations: PackedObservations, place: int) -> list[int]:
    """Which bands are valid at pixel times T plus date."""
    n, t = divmod(place, len(observations.days))
    packed = observations.packed[observations.pixels[n], t].astype(np.float32)
    there = packed != np.float32(observations.numbers[0])
    return [int(band) for band in observations.bands[there]]


def _guess(sensor: SensorModel, pattern: Sequence[int]) -> Array:
    """What valid bands say of all, and the constant, (B, B + 1)."""
    assert sensor.encoder.fill is not None
    fill = sensor.encoder.fill
    valid = torch.zeros(len(fill.location), dtype=torch.bool)
    valid[list(pattern)] = True
    slopes = fill.slopes(valid[None])[0]
    constant = fill.location - (fill.location * valid).double() @ slopes
    return torch.cat([slopes.T, constant[:, None]], dim=1).float().numpy()


@cache
def _loop(dtype: str) -> Loop:
    """The compiled pass over integers or floats of a store."""
    from numba import types

    number, whole = types.float32, types.int64
    rows, row = number[:, ::1], whole[::1]
    signature = (
        *(whole, getattr(types, dtype)[:, :, ::1], types.uint8[:, ::1], rows, row, row),
        *(number[::1], rows, rows, row, types.uint64[::1], number[:, :, ::1]),
        *(rows, rows, rows, rows, rows, types.boolean, number),
        *(rows, rows, rows, rows, rows, number[:, :, ::1], number[:, :, ::1]),
    )
    return compiled(TEXT, "encode_all", signature, f"encoder_{dtype}")
