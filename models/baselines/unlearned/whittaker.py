"""Whittaker's smoother on a daily grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg.lapack import dpbsv
from torch import Tensor

from terralatent.models.baselines.unlearned.band_series import BandSeries
from terralatent.models.baselines.unlearned.gap_variance import GapVariance
from terralatent.models.baselines.unlearned.hidden import Fold, choose_by_band
from terralatent.models.config import ModelConfig

__all__ = ["PENALTIES", "Whittaker", "smooth"]

PENALTIES = (1e1, 3e1, 1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 1e7)
"""Penalties that are tried."""


class Whittaker(GapVariance):
    r"""Each band as the daily series that is near its values and has small second differences.

    .. math:: \min_z \sum_{t\ \mathrm{seen}} (y_t - z_t)^2 + \lambda \sum_d (\Delta^2 z_d)^2

    :math:`\lambda` is chosen for each band. Beyond the first and last value the series is level.

    References:
        | A perfect smoother (Eilers, 2003)
    """

    penalty: Tensor

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self.register_buffer("penalty", torch.full((config.latents,), 1e3))

    def fill_mean(self, place: slice, series: BandSeries, query: Tensor) -> Tensor:
        """See :meth:`GapVariance.fill_mean`."""
        return smooth(series, query, self.penalty[place])

    def choose_settings(self, folds: Sequence[Fold]) -> None:
        """See :meth:`GapVariance.choose_settings`."""
        for name, place in self.places.items():
            chosen = choose_by_band(folds, name, PENALTIES, _fill_with)
            if chosen:
                self.penalty[place] = self.penalty.new_tensor(chosen)


def smooth(series: BandSeries, query: Tensor, penalty: Tensor) -> Tensor:
    """Return the smoothed bands at the query days, shape (N, Q, B), on the device of ``query``.

    Args:
        series: z, with at least one date.
        query: Days since 1970-01-01, any order, shape (Q,), float64.
        penalty: shape (B,), positive.
    """
    days, wanted = series.days.cpu().numpy(), query.cpu().numpy()
    valid, values = series.valid.cpu().numpy(), series.values.cpu().double().numpy()
    lambdas = penalty.cpu().double().numpy()
    filled = np.zeros((len(values), len(wanted), values.shape[-1]))
    groups = [np.flatnonzero(lambdas == value) for value in np.unique(lambdas)]
    for pixel in range(len(values)):
        for group in groups:
            masks = valid[pixel][:, group]
            # Bands are mostly seen together, and then share one system.
            same = (masks == masks[:, :1]).all()
            for bands in [group] if same else group[:, None]:
                seen = valid[pixel, :, bands[0]]
                if seen.any():
                    filled[pixel][:, bands] = _solve(
                        days[seen], values[pixel, seen][:, bands], wanted, lambdas[bands[0]]
                    )
    return torch.from_numpy(filled).to(query.device, series.values.dtype)


def _fill_with(series: BandSeries, query: Tensor, settings: Sequence[float]) -> Iterator[Tensor]:
    for penalty in settings:
        yield smooth(series, query, torch.full((series.values.shape[-1],), penalty))


def _solve(
    days: NDArray[np.floating],
    values: NDArray[np.floating],
    wanted: NDArray[np.floating],
    penalty: float,
) -> NDArray[np.floating]:
    """Smooth values (T, B) that are all seen, on the days between the first and the last."""
    first = np.floor(days[0])
    slot = (np.floor(days) - first).astype(np.int64)
    length = int(slot[-1]) + 1
    system = _penalties(length) * penalty
    system[0] += np.bincount(slot, minlength=length)
    target = np.zeros((length, values.shape[-1]))
    np.add.at(target, slot, values)
    _, solved, info = dpbsv(system[: min(3, length)], target, lower=1, overwrite_b=1)
    assert info == 0  # positive definite, for both ends of the grid were seen
    # LAPACK is called as it is: the wrapper around it takes longer than the solution.
    place = (np.floor(wanted) - first).astype(np.int64).clip(0, length - 1)
    smoothed: NDArray[np.floating] = solved[place]
    return smoothed


@lru_cache(maxsize=4096)
def _penalties(length: int) -> NDArray[np.floating]:
    """The lower diagonals of the second differences' Gram matrix, shape (3, length)."""
    gram = np.zeros((3, length))
    for offset, weight in enumerate((1.0, -2.0, 1.0)):
        gram[0, offset : length - 2 + offset] += weight**2
    gram[1, : max(length - 2, 0)] += -2.0
    gram[1, 1 : max(length - 1, 1)] += -2.0
    gram[2, : max(length - 2, 0)] += 1.0
    return gram
