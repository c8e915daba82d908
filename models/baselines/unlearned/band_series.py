"""One sensor's series in units of the region's spread, and which valid values lie beside a day."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class BandSeries:
    """What one sensor saw of N pixels, each band about the region's mean, by its spread."""

    days: Tensor
    """Days since 1970-01-01, ascending, shape (T,), float64."""

    values: Tensor
    """z, shape (N, T, B), 0 where not valid."""

    valid: Tensor
    """shape (N, T, B), bool."""

    def __len__(self) -> int:
        """The number of pixels N."""
        return len(self.values)

    def first(self, count: int) -> BandSeries:
        """Return the same of the first pixels only."""
        return replace(self, values=self.values[:count], valid=self.valid[:count])

    def hide(self, hidden: Tensor) -> BandSeries:
        """Return the same series, not valid on the dates ``hidden``, shape (T,), bool."""
        valid = self.valid & ~hidden[:, None]
        return replace(self, valid=valid, values=torch.where(valid, self.values, 0.0))


@dataclass(frozen=True)
class Beside:
    """The valid values before (or on) and after (or on) some days, band by band: (N, Q, B)."""

    before: Tensor
    """Index along the dates, -1 where there is none, int64."""

    after: Tensor
    """Index along the dates, T where there is none, int64."""

    gap: Tensor
    """Days to the nearer of the two, infinite where there is none, float32."""


def beside(series: BandSeries, query: Tensor) -> Beside:
    """Find the valid values beside each query day.

    Args:
        series: With at least one date.
        query: Days since 1970-01-01, any order, shape (Q,), float64.
    """
    pixels, count, bands = series.valid.shape
    index = torch.arange(count, device=query.device).reshape(1, -1, 1)
    edge = index.new_full((pixels, 1, bands), -1)
    last = torch.where(series.valid, index, -1).cummax(1).values
    first = torch.where(series.valid, index, count).flip(1).cummin(1).values.flip(1)
    query = query.contiguous()
    reached = torch.searchsorted(series.days, query, right=True)
    begun = torch.searchsorted(series.days, query)
    before = torch.cat([edge, last], 1)[:, reached]
    after = torch.cat([first, edge + 1 + count], 1)[:, begun]
    day = query[:, None]
    since = torch.where(before < 0, torch.inf, day - series.days[before.clamp_min(0)])
    until = torch.where(after == count, torch.inf, series.days[after.clamp_max(count - 1)] - day)
    return Beside(before, after, torch.minimum(since, until).float())
