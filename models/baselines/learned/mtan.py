r"""mTAN-VAE: attention over time onto reference days, and back to any day.

.. math:: h(r) = \sum_i \alpha(r, t_i)\, e(x_i), \quad q(z_r) = N(\mu(h), \sigma^2(h)), \quad
    z(t) = \sum_r \beta(t, r)\, z_r, \quad z_r \sim N(0, I)

A recurrent network runs over the reference days in between. The way back is linear in z_r, each
latent in one head, so that latents at any day are Gaussian and independent exactly (the paper has
a second recurrent network there, whose marginals have no closed form).

References:
    | Multi-time attention networks for irregularly sampled time series (Shukla & Marlin, 2021)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from terralatent.models.baselines.learned.attention import TimeAttention
from terralatent.models.baselines.learned.model import (
    LOG_VAR_RANGE,
    LatentsAt,
    LearnedBaseline,
    gaussian_kl,
    pass_on,
)
from terralatent.models.config import ModelConfig
from terralatent.models.observations import Observations

__all__ = ["MTANVAE", "REFERENCES", "back_to_days", "heads_for"]

REFERENCES = 32
"""Reference days, laid evenly over the span of the series."""


class MTANVAE(LearnedBaseline):
    """Latents live on reference days; see the module."""

    def build(self, config: ModelConfig) -> None:
        """See :meth:`LearnedBaseline.build`."""
        width, heads = config.hidden, heads_for(config.hidden)
        self.forth = TimeAttention(width, heads)
        self.back = TimeAttention(width, heads)
        self.recurrent = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(3 * width, 2 * config.latents)
        pass_on(self.head)

    def latents_at(self, seen: Mapping[str, Observations], days: Tensor) -> LatentsAt:
        """See :meth:`LearnedBaseline.latents_at`."""
        reading = self.reader(self.every_sensor(), seen)
        references = self.time(self.time.references(REFERENCES))
        weights = self.forth(references, self.time(reading.days))
        pooled, _ = self.forth.pool(weights, reading.values, reading.observed)
        summary = torch.cat([pooled, self.recurrent(pooled)[0]], dim=-1)
        mean, log_var = self.head(summary).chunk(2, dim=-1)
        log_var = log_var.clamp(*LOG_VAR_RANGE)
        weights = back_to_days(self.back(self.time(days), references), mean.shape[-1])
        return LatentsAt(
            torch.einsum("lqr,nrl->nql", weights, mean),
            torch.einsum("lqr,nrl->nql", weights.square(), log_var.exp()),
            gaussian_kl(mean, log_var).sum((-1, -2)),
        )


def heads_for(width: int) -> int:
    """Return how many heads go into ``width`` numbers: at most 4."""
    return next(heads for heads in (4, 2, 1) if width % heads == 0)


def back_to_days(weights: Tensor, latents: int) -> Tensor:
    """Normalise weights (H, Q, R) over R, and give each latent its head: (L, Q, R)."""
    share = weights / weights.sum(-1, keepdim=True)
    head = torch.arange(latents, device=share.device) * len(share) // latents
    return share[head]
