"""Harmonic regression: a level, a trend and waves of a year."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.band_series import BandSeries
from terralatent.models.baselines.unlearned.gap_variance import GapVariance
from terralatent.models.baselines.unlearned.hidden import Fold, choose_by_band
from terralatent.models.config import ModelConfig
from terralatent.models.sensor.networks import YEAR_DAYS

__all__ = ["RIDGES", "WAVES", "Harmonics", "design", "penalties", "regress"]

WAVES = (1, 2, 3, 4)
"""Numbers of harmonics that are tried; each is a choice of the band."""

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Penalties that are tried, in observations of unit variance."""

LEVEL = 0.1
"""The level's penalty as a share of the waves'."""

BARRED = 1e6
"""Penalty of a wave or trend that was not chosen."""


class Harmonics(GapVariance):
    r"""Each band as a level, a trend and up to four harmonics of the year, by ridge regression.

    .. math:: z(t) = a + c\,\frac{t - t_0}{1\,yr} + \sum_{k=1}^{K} b_k \sin 2 \pi k t
        + b'_k \cos 2 \pi k t, \quad
        \min \sum_t (y_t - z(t))^2 + \rho \left(0.1\, a^2 + c^2
        + \sum_k k^2 (b_k^2 + b_k'^2)\right)

    Each band's K, penalty and whether it has a trend are chosen on hidden training acquisitions.
    """

    penalty: Tensor
    epoch: Tensor

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        plain = penalties((2, 1.0, False))
        self.register_buffer("penalty", plain.repeat(config.latents, 1))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.float64))

    def fill_mean(self, place: slice, series: BandSeries, query: Tensor) -> Tensor:
        """See :meth:`GapVariance.fill_mean`."""
        return regress(series, query, self.penalty[place], float(self.epoch))

    def choose_settings(self, folds: Sequence[Fold]) -> None:
        """See :meth:`GapVariance.choose_settings`."""
        ends = torch.cat([seen.days for fold in folds for seen in fold.seen.values()])
        self.epoch.fill_(0.5 * float(ends.min() + ends.max()))
        settings = list(product(WAVES, RIDGES, (False, True)))
        for name, place in self.places.items():
            chosen = choose_by_band(folds, name, settings, self._fill_with)
            for at, setting in enumerate(chosen, start=place.start):
                self.penalty[at] = penalties(setting)

    def _fill_with(
        self, series: BandSeries, query: Tensor, settings: Sequence[tuple[int, float, bool]]
    ) -> Iterator[Tensor]:
        for setting in settings:
            penalty = penalties(setting).to(query.device).expand(series.values.shape[-1], -1)
            yield regress(series, query, penalty, float(self.epoch))


def penalties(setting: tuple[int, float, bool]) -> Tensor:
    """Return the penalty of each column of the design for waves, ridge and trend, shape (P,)."""
    waves, ridge, trend = setting
    steep = [ridge * wave**2 if wave <= waves else BARRED for wave in WAVES for _ in range(2)]
    return torch.tensor([LEVEL * ridge, ridge if trend else BARRED, *steep])


def design(days: Tensor, epoch: float) -> Tensor:
    """Return level, trend and waves at days since 1970-01-01 (T,), shape (T, P), float64."""
    angle = torch.remainder(days / YEAR_DAYS, 1.0) * (2.0 * torch.pi)
    waves = [part for k in WAVES for part in ((k * angle).sin(), (k * angle).cos())]
    return torch.stack([torch.ones_like(days), (days - epoch) / YEAR_DAYS, *waves], dim=-1)


def regress(series: BandSeries, query: Tensor, penalty: Tensor, epoch: float) -> Tensor:
    """Return the bands at the query days, shape (N, Q, B); 0 for a series without valid values.

    Args:
        series: With at least one date.
        query: Days since 1970-01-01, any order, shape (Q,), float64.
        penalty: Of each band's columns, shape (B, P).
        epoch: Day at which the trend is 0.
    """
    columns = design(series.days, epoch)
    products = (columns[:, :, None] * columns[:, None, :]).flatten(1)
    mask = series.valid.transpose(1, 2).double()
    gram = (mask @ products).unflatten(-1, (columns.shape[-1],) * 2)
    gram = gram + torch.diag_embed(penalty.double())
    target = series.values.transpose(1, 2).double() @ columns
    factor = torch.linalg.cholesky(gram)
    slopes = torch.cholesky_solve(target.unsqueeze(-1), factor).squeeze(-1)
    filled = torch.einsum("nbp,qp->nqb", slopes, design(query, epoch))
    return filled.to(series.values.dtype)
