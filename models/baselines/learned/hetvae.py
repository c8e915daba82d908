r"""HeTVAE: attention over time that knows how much was observed, and a deterministic path.

.. math:: (h(r), \lambda(r)) = \text{average and intensity of what was observed near } r, \quad
    z(t) = \sum_r \beta(t, r)\, z_r + d(t), \quad z_r \sim N(0, I)

The intensity, the log of the attention that observations receive, shows the network a gap as other
than a run of clear dates. The deterministic path d(t) goes around the latents on reference days; it
moves the mean of z(t) only. Noise is heteroscedastic as in all families here: the decoder's scale
depends on z(t), so on the intensity through d(t). As in the paper the bound is one given what the
deterministic path has seen; its further term on the squared error is left out.

The intensity is not divided by that of all days of the data set, as the paper's is: days that
nobody saw must change nothing.

References:
    | Heteroscedastic temporal variational autoencoder for irregularly sampled time series
    | (Shukla & Marlin, 2022)
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
    silence,
)
from terralatent.models.baselines.learned.mtan import REFERENCES, back_to_days, heads_for
from terralatent.models.config import ModelConfig
from terralatent.models.observations import Observations

__all__ = ["HeTVAE"]


class HeTVAE(LearnedBaseline):
    """Uncertainty-aware attention over time; see the module."""

    def build(self, config: ModelConfig) -> None:
        """See :meth:`LearnedBaseline.build`."""
        width, heads = config.hidden, heads_for(config.hidden)
        self.forth = TimeAttention(width, heads)
        self.back = TimeAttention(width, heads)
        self.mix = nn.Sequential(
            nn.Linear(width + heads, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.head = nn.Linear(2 * width, 2 * config.latents)
        pass_on(self.head)
        self.aside = nn.Linear(2 * width + heads, width)
        last = nn.Linear(width, config.latents)
        silence(last)
        self.direct = nn.Sequential(nn.SiLU(), last)

    def latents_at(self, seen: Mapping[str, Observations], days: Tensor) -> LatentsAt:
        """See :meth:`LearnedBaseline.latents_at`."""
        reading = self.reader(self.every_sensor(), seen)
        references, seen_days = self.time(self.time.references(REFERENCES)), self.time(reading.days)
        pooled, intensity = self.forth.pool(
            self.forth(references, seen_days), reading.values, reading.observed
        )
        mixed = self.mix(torch.cat([pooled, intensity], dim=-1))
        summary = torch.cat([pooled, mixed], dim=-1)
        mean, log_var = self.head(summary).chunk(2, dim=-1)
        log_var = log_var.clamp(*LOG_VAR_RANGE)

        back = self.back(self.time(days), references)
        share = back / back.sum(-1, keepdim=True)
        aside = self.aside(torch.cat([summary, intensity], dim=-1)).unflatten(-1, (len(back), -1))
        direct = self.direct(torch.einsum("hqr,nrhw->nqhw", share, aside).flatten(-2))
        weights = back_to_days(back, mean.shape[-1])
        return LatentsAt(
            torch.einsum("lqr,nrl->nql", weights, mean) + direct,
            torch.einsum("lqr,nrl->nql", weights.square(), log_var.exp()),
            gaussian_kl(mean, log_var).sum((-1, -2)),
        )
