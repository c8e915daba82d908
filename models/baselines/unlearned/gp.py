"""A Gaussian process for each band alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.band_series import BandSeries
from terralatent.models.baselines.unlearned.hidden import Fold, choose_by_band
from terralatent.models.baselines.unlearned.model import EachSensor
from terralatent.models.config import ModelConfig
from terralatent.models.kernels.matern32 import Matern32
from terralatent.models.posteriors.markov import Markov

__all__ = ["LENGTHSCALES", "NOISES", "BandGP", "band_process"]

LENGTHSCALES = (8.0, 12.0, 18.0, 27.0, 40.0, 60.0, 90.0)
"""Days that are tried."""

NOISES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Variances of the noise that are tried, as multiples of the signal's."""


class BandGP(EachSensor):
    r"""Exact regression of each band with a Matérn-3/2 kernel about the region's mean.

    .. math:: z_b \sim GP(0, \sigma_b^2 k_{\ell_b}), \quad
        y_t = z_b(t) + \epsilon, \quad \epsilon \sim N(0, \nu_b \sigma_b^2),
        \quad \sigma_b^2 (1 + \nu_b) = 1

    Lengthscale and noise of each band are the pair that fills hidden training acquisitions with
    the least error.
    """

    lengthscale: Tensor
    noise: Tensor

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self.register_buffer("lengthscale", torch.full((config.latents,), 40.0))
        self.register_buffer("noise", torch.full((config.latents,), 0.4))

    def timescales(self) -> dict[str, Tensor]:
        """See :meth:`LatentModel.timescales`."""
        return {"matern32": self.lengthscale.clone()}

    def unseen_variance(self) -> Tensor:
        """See :meth:`EachSensor.unseen_variance`: the signal's."""
        return 1.0 / (1.0 + self.noise)

    def fill_sensor(self, place: slice, series: BandSeries, query: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`EachSensor.fill_sensor`."""
        noise = self.noise[place]
        mean, share = band_process(
            series.values, series.valid, series.days, query, self.lengthscale[place], noise
        )
        return mean, share / (1.0 + noise)

    def choose(self, folds: Sequence[Fold], seed: int) -> None:
        """See :meth:`FilledBands.choose`."""
        pairs = list(product(LENGTHSCALES, NOISES))
        for name, place in self.places.items():
            chosen = choose_by_band(folds, name, pairs, _fill_with)
            if chosen:
                self.lengthscale[place] = self.lengthscale.new_tensor([days for days, _ in chosen])
                self.noise[place] = self.noise.new_tensor([noise for _, noise in chosen])


def band_process(
    values: Tensor,
    seen: Tensor,
    days: Tensor,
    query: Tensor,
    lengthscale: float | Tensor,
    noise: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Regress each band alone on its own values, with a Matérn-3/2 kernel; exact.

    Args:
        values: About the mean to which a band returns in gaps, shape (N, T, B), float32 or
            float64; finite where seen.
        seen: shape (N, T) or (N, T, B), bool.
        days: Ascending, shape (T,), float64.
        query: Any order, shape (Q,), float64.
        lengthscale: In days, at least 8; one for all bands or shape (B,).
        noise: Variance of the noise as a multiple of the signal's, at least 1e-4; the same.

    Returns:
        Mean (N, Q, B) in the units of ``values``, and variance as a share of the signal's, the
        same shape.
    """
    mask = seen if seen.ndim == 3 else seen.unsqueeze(-1).expand_as(values)
    kernel = Matern32(values.shape[-1], lengthscale, learnable=False).to(values.device)
    precision = torch.where(mask, 1.0, 0.0).to(values.dtype) / torch.as_tensor(
        noise, dtype=values.dtype, device=values.device
    )
    eta = precision * torch.where(mask, values, 0.0)
    return Markov().marginals(kernel, days, precision, eta, query)


def _fill_with(
    series: BandSeries, query: Tensor, settings: Sequence[tuple[float, float]]
) -> Tensor:
    """The bands for each setting, (S, N, Q, B): all in one pass, as if they were further bands."""
    bands, count = series.values.shape[-1], len(settings)
    days, noise = torch.tensor(settings).repeat_interleave(bands, 0).T
    mean, _ = band_process(
        series.values.repeat(1, 1, count),
        series.valid.repeat(1, 1, count),
        series.days,
        query,
        days,
        noise,
    )
    filled: Tensor = mean.unflatten(-1, (count, bands)).permute(2, 0, 1, 3)
    return filled
