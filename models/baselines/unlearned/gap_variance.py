"""Methods without a variance of their own: what hidden acquisitions missed at such a gap."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from terralatent.models.baselines.unlearned.band_series import BandSeries, beside
from terralatent.models.baselines.unlearned.hidden import Fold
from terralatent.models.baselines.unlearned.model import EachSensor
from terralatent.models.config import ModelConfig

__all__ = ["GAPS", "GapVariance"]

GAPS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Days to the nearest valid value at which the error is tabulated; linear between, level beyond."""

ONE_STD = 0.6827
"""Share of a Gaussian within one standard deviation: hidden clouds hardly move that quantile."""

FEWEST = 50
"""Hidden values that a gap needs for a figure of its own."""

NOISE = 0.5
"""Share of the error at the shortest gap that is the hidden value's own noise: the rest is that of
the values it was filled from, and counts as the surface's."""


class GapVariance(EachSensor):
    """A method that gives a mean, with the variance that errors at such a gap have had.

    The figure is for each band, does not fall as gaps grow, and is 1 (the region's) where a series
    has no observation at all.
    """

    gap_variance: Tensor

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self.register_buffer("gap_variance", torch.ones(len(GAPS), config.latents))

    @abstractmethod
    def fill_mean(self, place: slice, series: BandSeries, query: Tensor) -> Tensor:
        """Return the mean of the surface z, shape (N, Q, B); 0 for a series never observed."""

    @abstractmethod
    def choose_settings(self, folds: Sequence[Fold]) -> None:
        """Choose what the method has to choose, in place; nothing for a method without."""

    def fill_sensor(self, place: slice, series: BandSeries, query: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`EachSensor.fill_sensor`."""
        mean = self.fill_mean(place, series, query)
        return mean, gap_to_variance(beside(series, query).gap, self.gap_variance[:, place])

    def choose(self, folds: Sequence[Fold], seed: int) -> None:
        """See :meth:`FilledBands.choose`: settings first, then the errors they leave."""
        self.choose_settings(folds)
        for name, place in self.places.items():
            errors, gaps = [], []
            for fold in folds:
                if name in fold.hidden:
                    hidden, seen = fold.hidden[name], fold.seen[name]
                    error = self.fill_mean(place, seen, hidden.days) - hidden.values
                    errors.append(torch.where(hidden.valid, error, torch.nan).flatten(0, 1))
                    gaps.append(beside(seen, hidden.days).gap.flatten(0, 1))
            if errors:
                table = _tabulate(torch.cat(errors), torch.cat(gaps))
                self.gap_variance[:, place] = (table - NOISE * table[0]).clamp_max(1.0)


def gap_to_variance(gap: Tensor, table: Tensor) -> Tensor:
    """Read the variance at gaps (*, B), days, off a table (G, B); 1 where the gap is infinite."""
    knots = gap.new_tensor(GAPS)
    bounded = gap.clamp(knots[0], knots[-1])
    low = (torch.searchsorted(knots, bounded, right=True) - 1).clamp(0, len(GAPS) - 2)
    share = (bounded - knots[low]) / (knots[low + 1] - knots[low])
    band = torch.arange(gap.shape[-1], device=gap.device).expand_as(low)
    variance = (1.0 - share) * table[low, band] + share * table[low + 1, band]
    return torch.where(gap.isfinite(), variance, 1.0)


def _tabulate(error: Tensor, gap: Tensor) -> Tensor:
    """Squared error within which ``ONE_STD`` of the rows lie, by gap and band, shape (G, B)."""
    knots = gap.new_tensor(GAPS)
    edges = (knots[1:] * knots[:-1]).sqrt()
    kind = torch.searchsorted(edges, gap)
    table = torch.full((len(GAPS), error.shape[-1]), torch.nan)
    for band in range(error.shape[-1]):
        usable = error[:, band].isfinite() & gap[:, band].isfinite()
        squares, kinds = error[usable, band].square(), kind[usable, band]
        overall = _quantile(squares) if len(squares) else torch.ones(())
        for at in range(len(GAPS)):
            some = squares[kinds == at]
            if len(some) >= FEWEST:
                table[at, band] = _quantile(some)
        known = table[:, band].isfinite()
        if bool(known.any()):
            # Gaps that never occur get the figure of the nearest that does.
            rising = IsotonicRegression(out_of_bounds="clip")
            weight = torch.bincount(kinds, minlength=len(GAPS))[known]
            rising.fit(knots[known].log(), table[known, band], sample_weight=weight)
            table[:, band] = torch.from_numpy(rising.predict(knots.log())).float()
        else:
            table[:, band] = overall
    return table


def _quantile(values: Tensor) -> Tensor:
    ranked = values.sort().values
    return ranked[min(len(ranked) - 1, int(ONE_STD * len(ranked)))].clamp_min(1e-6)
