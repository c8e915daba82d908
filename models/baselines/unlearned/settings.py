"""Settings chosen by what they miss hidden acquisitions by, each band for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.band_series import BandSeries
from terralatent.models.baselines.unlearned.hidden import Fold

__all__ = ["choose_by_band"]

Setting = TypeVar("Setting")

PIXELS = 128
"""Series of each fold on which settings are compared."""


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
    told = [(fold.seen[name], fold.hidden[name]) for fold in some]
    if not any(bool(hidden.valid.any()) for _, hidden in told):
        return []
    errors = torch.zeros(len(settings), told[0][0].values.shape[-1], dtype=torch.float64)
    for seen, hidden in told:
        for error, filled in zip(errors, fill(seen, hidden.days, settings), strict=True):
            missed = torch.where(hidden.valid, filled - hidden.values, 0.0).double()
            error += missed.square().sum((0, 1)).cpu()
    return [settings[int(best)] for best in errors.argmin(0)]
