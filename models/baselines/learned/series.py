r"""A VAE of whole series: a recurrent network reads all, and one vector says what happened.

.. math:: v \sim N(0, I), \quad z_l(t) = a_l(t)^T v_l, \quad |a_l(t)| = 1

The vector v has a part v_l for each latent series; the weights a_l(t) of its numbers are a network
of the time encoding, the same for all series. So latents at any day are Gaussian and independent
exactly, with the prior N(0, 1). Noise is drawn for each day anew: the bound needs the marginals
only, and its estimate varies less so (the local reparameterisation).

References:
    | Generating sentences from a continuous space (Bowman et al., 2016)
    | Variational recurrent auto-encoders (Fabius & van Amersfoort, 2015)
    | Variational dropout and the local reparameterization trick (Kingma et al., 2015)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from terralatent.models.baselines.learned.model import (
    LOG_VAR_RANGE,
    LatentsAt,
    LearnedBaseline,
    gaussian_kl,
)
from terralatent.models.config import ModelConfig
from terralatent.models.observations import Observations

__all__ = ["SeriesVAE"]

PART = 8
"""Numbers of the vector for each latent series."""


class SeriesVAE(LearnedBaseline):
    """One latent vector for a whole series; see the module."""

    def build(self, config: ModelConfig) -> None:
        """See :meth:`LearnedBaseline.build`."""
        width, total = config.hidden, PART * config.latents
        self.when = nn.Linear(width + 1, width)
        self.recurrent = nn.GRU(width, width, batch_first=True)
        last = nn.Linear(2 * width, 2 * total)
        self.head = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.SiLU(), last)
        with torch.no_grad():
            last.weight.mul_(0.1)  # near the prior, where the decoders start from
        self.weights = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, total))

    def latents_at(self, seen: Mapping[str, Observations], days: Tensor) -> LatentsAt:
        """See :meth:`LearnedBaseline.latents_at`."""
        mean, log_var = self.vector(seen)
        weights = self.weights(self.time(days)).unflatten(-1, (-1, PART))
        weights = nn.functional.normalize(weights, dim=-1)
        parts = mean.unflatten(-1, (-1, PART)), log_var.exp().unflatten(-1, (-1, PART))
        return LatentsAt(
            torch.einsum("qlk,nlk->nql", weights, parts[0]),
            torch.einsum("qlk,nlk->nql", weights.square(), parts[1]),
            gaussian_kl(mean, log_var).sum(-1),
        )

    def vector(self, seen: Mapping[str, Observations]) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of v, each (N, 8 L); 0 for series without observations."""
        values, when, observed = self.reader(self.every_sensor(), seen).packed()
        gap = when.diff(dim=1, prepend=when[:, :1]).float().clamp(0.0, 365.0) / 30.0
        inputs = values + self.when(torch.cat([self.time(when), gap.unsqueeze(-1)], dim=-1))
        # Blanks come after a series' own observations, so that they change no output before them.
        outputs, _ = self.recurrent(inputs)
        length = observed.sum(1)
        count = length.clamp_min(1)
        last = outputs[torch.arange(len(count), device=count.device), count - 1]
        average = (outputs * observed.unsqueeze(-1)).sum(1) / count.unsqueeze(-1)
        summary = torch.cat([last, average], dim=-1)
        mean, log_var = self.head(summary).chunk(2, dim=-1)
        some = (length > 0).unsqueeze(-1)
        return torch.where(some, mean, 0.0), torch.where(some, log_var.clamp(*LOG_VAR_RANGE), 0.0)
