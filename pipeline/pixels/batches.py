"""Pixels of a block through a model: as many at once as the device that it lies on holds.

On a GPU two blocks are under way at a time, each on a stream of its own, so that one is copied
while the other computes; further blocks of the process are read, decompressed and written
meanwhile. Observations travel as the integers of the cube, from pinned memory.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terralatent.models.config import ModelConfig
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import AnyObservations
from terralatent.pipeline.cube.series import CPU, SeriesBlock

__all__ = ["BATCH_OBSERVATIONS", "batch_bytes", "infer_batches", "infer_batches_by"]

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH_OBSERVATIONS = 100_000
"""Pixels times dates, observed and requested, that go through a model on a CPU at once: more are
not faster."""

ENCODED_BYTES, LATENT_BYTES = 1_500, 32
"""What a pixel and date take of a device while they are encoded, and what each latent of them adds
while it is smoothed, at most."""

BLOCKS_ON_GPU = 2
"""Blocks that a GPU holds at a time: one computes, one is copied."""

GPU_SHARE = 0.8
"""Of a GPU's free memory, what the batches of all its blocks may take."""

_slots: dict[torch.device, BoundedSemaphore] = defaultdict(lambda: BoundedSemaphore(BLOCKS_ON_GPU))
_held: dict[torch.device, int] = {}
"""Observations that a device could hold at once where it could not hold more."""


def batch_bytes(config: ModelConfig) -> int:
    """What a pixel and date take of a device while they go through a model, at most."""
    return ENCODED_BYTES + LATENT_BYTES * config.latents


def infer_batches(
    model: LatentModel,
    series: SeriesBlock,
    pixels: NDArray[np.intp],
    days: Tensor,
    most: int | None = None,
) -> Iterator[tuple[NDArray[np.intp], Tensor, Tensor]]:
    """Infer the latents of some pixels, a batch at a time. What does not fit is halved.

    Args:
        model: On any device.
        series: Of a block.
        pixels: Row-major places within it.
        days: Days since 1970-01-01 that are requested, (Q,), float64.
        most: Pixels times dates in a batch on a CPU at most; on a GPU its own memory decides.

    Yields:
        Some of the pixels, in their order, and mean and variance of their latents, (n, Q, L),
        float32, on the model's device.

    Raises:
        ArithmeticError: If the model gives a value that is not finite.
        RuntimeError: If not even one pixel fits the device.
    """
    query = days.to(model.device)

    def infer(observations: Mapping[str, AnyObservations]) -> tuple[Tensor, Tensor]:
        mean, var = model.infer(observations, query)
        if not bool(torch.isfinite(mean.sum() + var.sum())):
            raise ArithmeticError("the model gave a latent that is not finite")
        return mean, var

    for some, (mean, var) in infer_batches_by(model, infer, series, pixels, len(days), most):
        yield some, mean, var


def infer_batches_by(
    model: LatentModel,
    infer: Callable[[Mapping[str, AnyObservations]], T],
    series: SeriesBlock,
    pixels: NDArray[np.intp],
    dates: int,
    most: int | None = None,
) -> Iterator[tuple[NDArray[np.intp], T]]:
    """Let a function of a model infer from the observations of some pixels, a batch at a time.

    Args:
        model: On any device, where the function computes.
        infer: Called with the observations of a batch; what does not fit is halved.
        series: Of a block.
        pixels: Row-major places within it.
        dates: How many are requested.
        most: Pixels times dates in a batch on a CPU at most; on a GPU its own memory decides.

    Yields:
        Some of the pixels, in their order, and what was inferred of them.

    Raises:
        RuntimeError: If not even one pixel fits the device.
    """
    dates += sum(len(sensor.days) for sensor in series.by_sensor.values())
    with _stream(model.device):
        size = _most(model)
        if most is not None and model.device == CPU:
            size = min(size, most)
        start = 0
        while start < len(pixels):
            some = pixels[start : start + max(1, size // dates)]
            try:
                found = infer(series.packed(some, model.device))
            except (MemoryError, RuntimeError) as error:
                if not _is_full(error) or len(some) == 1:
                    raise
                size = _held[model.device] = len(some) * dates // 2
                log.info("%s is full; going on with %d pixels at a time", model.device,
                         max(1, size // dates))  # fmt: skip
                continue
            yield some, found
            start += len(some)


@contextmanager
def _stream(device: torch.device) -> Iterator[None]:
    """Let what a thread does on a GPU be ordered among itself only, for the time of a block."""
    if device.type != "cuda":
        yield
        return
    with _slots[device], torch.cuda.stream(torch.cuda.Stream(device)):
        yield


def _most(model: LatentModel) -> int:
    """Observations that a batch on a device may have, by what was free at its first batch."""
    device = model.device
    if device not in _held:
        _held[device] = BATCH_OBSERVATIONS
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            room = int(GPU_SHARE * free) // BLOCKS_ON_GPU
            _held[device] = max(1, room // batch_bytes(model.config))
    return _held[device]


def _is_full(error: BaseException) -> bool:
    """Whether an error says that memory is used up; torch says so of a CPU in words alone."""
    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return True
    return isinstance(error, MemoryError) or "allocate memory" in str(error)
