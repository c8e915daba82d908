"""Linear interpolation between clear observations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.band_series import BandSeries, beside
from terralatent.models.baselines.unlearned.gap_variance import GapVariance
from terralatent.models.baselines.unlearned.hidden import Fold

__all__ = ["Linear", "interpolate"]


class Linear(GapVariance):
    """Each band on the line between the valid values before and after; the nearest beyond the ends.

    There is nothing to choose; how wrong it is was measured, see :class:`GapVariance`.
    """

    def fill_mean(self, place: slice, series: BandSeries, query: Tensor) -> Tensor:
        """See :meth:`GapVariance.fill_mean`."""
        return interpolate(series, query)

    def choose_settings(self, folds: Sequence[Fold]) -> None:
        """See :meth:`GapVariance.choose_settings`."""


def interpolate(series: BandSeries, query: Tensor) -> Tensor:
    """Return the bands at the query days, shape (N, Q, B); 0 for a series without valid values.

    Args:
        series: With at least one date.
        query: Days since 1970-01-01, any order, shape (Q,), float64.
    """
    count = len(series.days)
    near = beside(series, query)
    left = torch.where(near.before < 0, near.after, near.before).clamp(0, count - 1)
    right = torch.where(near.after == count, near.before, near.after).clamp(0, count - 1)
    begin, end = series.days[left], series.days[right]
    span = end - begin
    some = span > 0.0
    share = torch.where(some, (query[:, None] - begin) / torch.where(some, span, 1.0), 0.0)
    share = share.to(series.values.dtype)
    first, second = series.values.gather(1, left), series.values.gather(1, right)
    return first + share * (second - first)
