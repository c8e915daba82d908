"""What training never sees: whole acquisitions, and blocks apart where a cube has several.

A cloud takes an acquisition from a whole neighbourhood at once, so a model that fills gaps is
judged on acquisitions hidden for all pixels. Normalisation, the start of the model, every step and
the choice of the best step use the others only.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from terralatent.models.observations import Observations, clear_dates
from terralatent.pipeline.dates import GAP_DAYS

__all__ = ["Holdout", "blocks_apart", "hold_out"]

SCATTERED_SHARE = 0.1
"""Share of the clear acquisitions that is hidden one by one."""
LARGEST_WINDOW_SHARE = 0.2
"""A window that would hide more of a sensor's clear acquisitions than this is not hidden."""
FEWEST_CLEAR = 4
"""A sensor with fewer clear acquisitions keeps them all."""
FEWEST_BLOCKS = 4
APART_SHARE = 0.1


@dataclass(frozen=True)
class Holdout:
    """The acquisitions of one cube that are kept from training, for all of its pixels."""

    acquisitions: Mapping[str, Tensor]
    """For each sensor, True where the acquisition is held out, (T,) bool."""

    @property
    def empty(self) -> bool:
        """Whether nothing at all is held out."""
        return not any(bool(held.any()) for held in self.acquisitions.values())

    def training(self, observations: Mapping[str, Observations]) -> dict[str, Observations]:
        """The same series without the acquisitions held out: these are not valid anywhere."""
        return {name: series.hide(self.acquisitions[name]) for name, series in observations.items()}

    def validation(self, observations: Mapping[str, Observations]) -> dict[str, Observations]:
        """The same series with only the acquisitions held out: all others are not valid."""
        return {
            name: series.hide(~self.acquisitions[name]) for name, series in observations.items()
        }


def hold_out(
    observations: Mapping[str, Observations], seed: int, *, together: bool = True
) -> Holdout:
    """Choose the acquisitions of one cube to hold out, each sensor for itself.

    A tenth of the clear acquisitions, scattered, and all of one window of 45 days, if the calendar
    is longer and no more than a fifth of the clear ones is lost by it. The answer
    depends on ``seed``, the sensor's name, its days and which of its acquisitions are clear, and on
    nothing else: not on the other sensors, the order of the pixels or earlier calls.

    Args:
        observations: For each sensor, a sample of the cube's pixels on all of its days.
        seed: Another seed, another choice.
        together: Whether the pixels have the same dates; else every date that any has is clear.
    """
    return Holdout(
        {name: _held(name, series, seed, together) for name, series in observations.items()}
    )


def _held(name: str, observations: Observations, seed: int, together: bool) -> Tensor:
    """Which acquisitions of one sensor are held out, (T,) bool."""
    days = observations.days.numpy()
    held = np.zeros(days.shape, dtype=bool)
    observed = observations.observed
    clear = (clear_dates(observed) if together else observed.any(dim=0)).numpy()
    if clear.sum() < FEWEST_CLEAR:
        return torch.from_numpy(held)
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    scattered = max(1, round(SCATTERED_SHARE * int(clear.sum())))
    held[generator.choice(np.flatnonzero(clear), scattered, replace=False)] = True
    inside = clear & (days - days[0] >= GAP_DAYS / 2) & (days[-1] - days >= GAP_DAYS / 2)
    for middle in generator.permutation(days[inside]):
        window = np.abs(days - middle) <= GAP_DAYS / 2
        if (window & clear).sum() <= LARGEST_WINDOW_SHARE * clear.sum():
            held |= window
            break
    return torch.from_numpy(held)


def blocks_apart(full: np.ndarray, seed: int) -> np.ndarray:
    """Choose the blocks of one cube whose pixels are kept for validation.

    A tenth of the blocks, at least one, where the cube has four or more of full size; else none.

    Args:
        full: True where a block has its full size, (blocks,) bool. Slivers at an edge of the
            grid are never chosen.
        seed: Another seed, another choice.

    Returns:
        True where the block is kept apart, (blocks,) bool.
    """
    apart = np.zeros(full.shape, dtype=bool)
    candidates = np.flatnonzero(full)
    if candidates.size >= FEWEST_BLOCKS:
        generator = np.random.default_rng([seed, candidates.size])
        chosen = max(1, round(APART_SHARE * candidates.size))
        apart[generator.choice(candidates, chosen, replace=False)] = True
    return apart
