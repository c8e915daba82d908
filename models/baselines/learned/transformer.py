r"""A masked transformer VAE: observations attend to each other, reference days attend to them.

.. math:: q(z_r) = N(\mu(c_r), \sigma^2(c_r)), \quad
    c_r = \text{attention of } \phi(r) \text{ over the observations}, \quad
    z(t) = \sum_r \beta(t, r)\, z_r, \quad z_r \sim N(0, I)

Observations of five days make one token, a patch of time. Hidden observations are the masked
tokens: the days that ask know their date and nothing else. Latents live on reference days and reach
any day as in the mTAN-VAE, from which this one differs in that what is attended to depends on
content. With latents on every day of its own instead, independent in the prior, the bound pays for
each day what here it pays once a reference, and held-out dates are predicted far worse.

References:
    | Attention is all you need (Vaswani et al., 2017)
    | Self-supervised pretraining of transformers for satellite image time series classification
    | (Yuan & Lin, 2021)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

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
from terralatent.models.baselines.learned.reading import Reading
from terralatent.models.config import ModelConfig
from terralatent.models.observations import Observations

__all__ = ["TransformerVAE"]

PATCH_DAYS = 5.0
"""Observations of so many days make one token: attention costs the square of their number."""

LAYERS = 1
"""Of attention among the observations."""

SHARPNESS = 20.0
"""Of the attention of days to observations, at the start: scores of the same day."""


class TransformerVAE(LearnedBaseline):
    """Attention without recurrence; see the module."""

    def build(self, config: ModelConfig) -> None:
        """See :meth:`LearnedBaseline.build`."""
        width, self.heads = config.hidden, min(2, heads_for(config.hidden))
        self.nothing = nn.Parameter(torch.zeros(width))
        self.when = nn.Linear(width, width)
        layer = nn.TransformerEncoderLayer(
            width, self.heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.among = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.ask, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.content = nn.Linear(width, width)
        self.back = TimeAttention(width, heads_for(width))
        self.head = nn.Linear(width, 2 * config.latents)
        last = nn.Linear(width, 2 * config.latents)
        self.network = nn.Sequential(nn.Linear(width, width), nn.SiLU(), last)
        pass_on(self.head)
        silence(last)
        for block in cast(list[nn.TransformerEncoderLayer], self.among.layers):
            silence(block.self_attn.out_proj)
            silence(block.linear2)
        with torch.no_grad():
            # The first numbers are what was read of the latents: days stand beside them.
            self.when.weight[: config.latents] = 0.0
            self.when.bias[: config.latents] = 0.0
            # Days attend to observations by their encoded days, so to close ones at the start.
            per_head = 0.5 * math.sqrt(width / self.heads)
            for near in (self.ask, self.key):
                near.weight.copy_(math.sqrt(SHARPNESS / per_head) * torch.eye(width))
            self.content.weight.mul_(0.1)

    def latents_at(self, seen: Mapping[str, Observations], days: Tensor) -> LatentsAt:
        """See :meth:`LearnedBaseline.latents_at`."""
        values, encoded, observed = self._patches(self.reader(self.every_sensor(), seen))
        # A token that is always there: a series without observations attends to it alone.
        values = torch.cat([values, self.nothing.expand(len(values), 1, -1)], dim=1)
        encoded = torch.cat([encoded, torch.zeros_like(encoded[:, :1])], dim=1)
        masked = torch.cat([~observed, torch.zeros_like(observed[:, :1])], dim=1)
        tokens = values + self.when(encoded)
        tokens = self.among(tokens, src_key_padding_mask=masked)
        references = self.time(self.time.references(REFERENCES))
        content = self._across(references, encoded, tokens, masked)
        mean, log_var = (self.head(content) + self.network(content)).chunk(2, dim=-1)
        log_var = log_var.clamp(*LOG_VAR_RANGE)
        weights = back_to_days(self.back(self.time(days), references), mean.shape[-1])
        return LatentsAt(
            torch.einsum("lqr,nrl->nql", weights, mean),
            torch.einsum("lqr,nrl->nql", weights.square(), log_var.exp()),
            gaussian_kl(mean, log_var).sum((-1, -2)),
        )

    def _patches(self, reading: Reading) -> tuple[Tensor, Tensor, Tensor]:
        """Average over patches what is read, and the encoded days, (N, P, W), and where any is."""
        # Counted from 1970, so that a patch holds the same days whatever else a batch has.
        patch = (reading.days / PATCH_DAYS).floor().unique(return_inverse=True)[1]
        there = reading.observed.unsqueeze(-1).to(reading.values.dtype)
        every = torch.cat([reading.values, self.time(reading.days) * there, there], dim=-1)
        total = every.new_zeros(len(every), int(patch.max()) + 1, every.shape[-1])
        total = total.index_add(1, patch, every)
        count = total[..., -1]
        values, encoded = (total[..., :-1] / count.clamp_min(1.0).unsqueeze(-1)).chunk(2, dim=-1)
        return values, encoded, count > 0.0

    def _across(self, days: Tensor, encoded: Tensor, tokens: Tensor, masked: Tensor) -> Tensor:
        """Attention of days (Q, W) to tokens (N, M, W), by their days and by what they hold."""

        def split(rows: Tensor) -> Tensor:
            return rows.reshape(*rows.shape[:-1], self.heads, -1).transpose(-2, -3)

        # The days are the same for all series: one query a day.
        query = split(self.ask(days)).expand(len(tokens), -1, -1, -1)
        key = split(self.key(encoded) + self.content(tokens))
        allowed = ~masked[:, None, None, :]
        attended = functional.scaled_dot_product_attention(
            query, key, split(tokens), attn_mask=allowed
        )
        return attended.transpose(1, 2).flatten(-2)
