"""Training acquisitions hidden for all pixels: on them methods choose settings and are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.band_series import BandSeries
from terralatent.models.observations import clear_dates

__all__ = ["Fold", "choose_by_band", "hide_acquisitions"]

FOLDS = 4
EVERY = 8
"""Of so many clear dates one is hidden alone, and of so many runs of that many dates one whole."""

FEWEST_CLEAR = 4
"""A sensor with fewer such dates counts every date on which it saw anything."""

PIXELS = 128
"""Series of each fold on which settings are compared."""

Setting = TypeVar("Setting")


@dataclass(frozen=True)
class Fold:
    """One choice of what is hidden."""

    seen: Mapping[str, BandSeries]
    """By sensor name, all dates; hidden ones are not valid."""

    hidden: Mapping[str, BandSeries]
    """The hidden dates only, by sensor name."""

    def first(self, count: int) -> Fold:
        """Return the same of the first pixels only."""
        return Fold(
            {name: series.first(count) for name, series in self.seen.items()},
            {name: series.first(count) for name, series in self.hidden.items()},
        )


def hide_acquisitions(pool: Mapping[str, BandSeries]) -> list[Fold]:
    """Hide single dates and runs of dates of every sensor, in four ways.

    A quarter of a sensor's clear dates each time, so that what is left is nearly as dense as what
    will be filled. A sensor with a single clear date keeps it.
    """
    folds = []
    for fold in range(FOLDS):
        masks = {name: _hidden(series, fold) for name, series in pool.items()}
        folds.append(
            Fold(
                {name: series.hide(masks[name]) for name, series in pool.items()},
                {
                    name: BandSeries(
                        series.days[mask], series.values[:, mask], series.valid[:, mask]
                    )
                    for (name, series), mask in zip(pool.items(), masks.values(), strict=True)
                },
            )
        )
    return folds


def _hidden(series: BandSeries, fold: int) -> Tensor:
    """Which dates of one sensor are hidden, shape (T,), bool."""
    seen = series.valid.any(-1)
    clear = clear_dates(seen)
    if int(clear.sum()) < FEWEST_CLEAR:
        clear = seen.any(0)
    place = clear.cumsum(0) - 1
    step = EVERY // FOLDS * fold
    alone = place % EVERY == 1 + step
    run = (place // EVERY) % EVERY == (2 + step) % EVERY
    # Of a short calendar a run would be all there is.
    hidden: Tensor = clear & (alone | (run & (clear.sum() > 2 * EVERY)))
    return hidden


def choose_by_band(
    folds: Sequence[Fold],
    name: str,
    settings: Sequence[Setting],
    fill: Callable[[BandSeries, Tensor, Sequence[Setting]], Iterable[Tensor]],
) -> list[Setting]:
    """Return the setting with the least squared error of each band; none if nothing is hidden.

    Args:
        folds: What is hidden.
        name: The sensor.
        settings: What is tried.
        fill: Gives the bands (N, Q, B) at some days for each setting.
    """
    some = [fold.first(PIXELS) for fold in folds if name in fold.hidden]
    pairs = [(fold.seen[name], fold.hidden[name]) for fold in some]
    if not any(bool(hidden.valid.any()) for _, hidden in pairs):
        return []
    errors = torch.zeros(len(settings), pairs[0][0].values.shape[-1], dtype=torch.float64)
    for seen, hidden in pairs:
        for error, filled in zip(errors, fill(seen, hidden.days, settings), strict=True):
            missed = torch.where(hidden.valid, filled - hidden.values, 0.0).double()
            error += missed.square().sum((0, 1)).cpu()
    return [settings[int(best)] for best in errors.argmin(0)]
