r"""Changes between two runs over data that grew, from what both kept of the latents.

Of one latent at one date, the mean that all data will give is to who has a part of them as
uncertain as its variance is larger (the law of total variance; as data grow posterior means are a
martingale):

.. math:: m_{new} - m_{old} \sim N(0, V_{old} - V_{new})

So this much, and no more, may means move where what came in agrees with the model and with all
before it. It holds where the newer run saw all that the older did. Where refinements, a search for
outliers or errors over scenes judge an observation anew once others are there, it holds nearly.

Both are packed: rounding means adds :math:`step^2 / 12` to the variance each, and rounding standard
deviations leaves :math:`V_{old} - V_{new}` unsure. A latent counts where that is small beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.pipeline.changes.arrays import ChangeArrays, Moved
from terralatent.pipeline.changes.pair import LatentsPair
from terralatent.pipeline.mapping.block import BlockDone, Clock
from terralatent.pipeline.mapping.memory import MemoryLimit
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.arrays import INNER_CHUNK

__all__ = ["RunChanges", "map_runs", "moved_between"]

SURE = 10.0
"""A difference of variances must be so many times what rounding leaves unsure of it."""

FLOAT32 = 2.0**-23
"""Relative step of values that are not packed."""


@dataclass(frozen=True)
class Values:
    """What a run kept of latents at one date, (L, ...), float64; NaN outside every scene."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    mean_step: float
    """By which means are packed; 0 where they are not."""

    std_step: float


@dataclass(frozen=True)
class RunChanges:
    """What tasks carry: where both runs are, and what is kept; no pixels."""

    pair: LatentsPair

    @property
    def arrays(self) -> ChangeArrays:
        """What is kept."""
        return ChangeArrays(latents=self.pair.latents)


def moved_between(older: Values, newer: Values) -> Moved:
    """What latents of n pixels moved by. Computes nothing but these numbers.

    Args:
        older: Of the run that saw less, (L, n).
        newer: Of the other.
    """
    rounding = (older.mean_step**2 + newer.mean_step**2) / 12.0
    with np.errstate(invalid="ignore"):
        shrunk = older.std**2 - newer.std**2
        # A standard deviation is off by up to half a step: by step / sqrt(12), root mean square.
        unsure = sum(
            4.0 * own.std**2 * np.maximum(own.std_step, FLOAT32 * own.std) ** 2 / 12.0
            for own in (older, newer)
        )
        counts = shrunk > SURE * np.sqrt(unsure)
    step = np.where(counts, newer.mean - older.mean, 0.0)
    standardised = step / np.sqrt(np.where(counts, shrunk, 1.0) + rounding)
    return Moved(
        np.square(standardised).sum(axis=0), counts.sum(axis=0), {"standardised": standardised.T}
    )


def map_runs(product: RunChanges, limit: MemoryLimit, group: zarr.Group, block: Block) -> BlockDone:
    """Compare and write one block; runs on a worker and writes whole shards.

    ``changed`` is left to who knows all blocks.

    Args:
        product: What is compared.
        limit: What the task may take; a row of chunks of one date is read at a time.
        group: Root of the map's store, writable.
        block: Which pixels.
    """
    clock, clipped, kept, pair = Clock(), 0, product.arrays, product.pair
    inside = np.zeros(block.shape, bool)
    for at in range(len(pair.dates)):
        found = kept.blank(block.shape[0] * block.shape[1])
        for top in range(block.y.start, block.y.stop, INNER_CHUNK):
            y = slice(top, min(top + INNER_CHUNK, block.y.stop))
            with clock.time("read"):
                older, newer = (_values(run, place, y, block.x) for run, place in pair.at(at))
            with clock.time("infer"):
                seen = np.isfinite(newer.mean).all(axis=0)
                inside[y.start - block.y.start : y.stop - block.y.start] |= seen
                pixels = np.flatnonzero(seen.ravel())
                some = (_of_pixels(own, pixels) for own in (older, newer))
                first = (top - block.y.start) * block.shape[1]
                clipped += kept.put(found, pixels + first, moved_between(*some))
        with clock.time("write"):
            kept.write(group, at, block.y, block.x, found)
    return BlockDone(int(inside.sum()), clipped, clock.seconds)


def _values(run: Any, date: int, y: slice, x: slice) -> Values:
    """Read what a run kept of a date and window, (L, y, x).

    Raises:
        OSError: If it is damaged there.
    """
    return Values(*(run.read(name, date, y, x) for name in ("mean", "std")), *run.steps)


def _of_pixels(own: Values, pixels: NDArray[np.intp]) -> Values:
    mean, std = (values.reshape(len(values), -1)[:, pixels] for values in (own.mean, own.std))
    return Values(mean, std, own.mean_step, own.std_step)
