"""Attention from days to days: what was observed near a day tells most about it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["TimeAttention"]

SHARPEST = 30.0
"""Largest sharpness: exp(-2 * 30) is still a normal float32 number."""

BLANK = 1e-4
"""Weight of nothing: what has no observation near enough to weigh more says 0."""


class TimeAttention(nn.Module):
    r"""Several heads of attention between encoded days, the same for all series.

    .. math:: k_h(t, t') = \exp\big(s_h (\cos(Q_h \phi(t), K_h \phi(t')) - 1)\big)

    The paper's softmax of inner products, with both sides at unit length and a learned sharpness
    s_h: so the weights are bounded by 1, a mask is a weight of exactly 0, and one matrix over the
    calendar serves all series of a batch. Q and K start at the identity, where close days attend
    to each other.

    References:
        | Multi-time attention networks for irregularly sampled time series (Shukla & Marlin, 2021)

    Args:
        width: Of the encoded days.
        heads: How many.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        near = torch.eye(width).expand(heads, -1, -1)
        spread = 0.1 / math.sqrt(width)
        self.query = nn.Parameter(near + spread * torch.randn(heads, width, width))
        self.key = nn.Parameter(near + spread * torch.randn(heads, width, width))
        share = torch.linspace(0.2, 0.8, heads)
        self.sharpness = nn.Parameter(torch.logit(share))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the weights (H, Q, T), in (0, 1], of encoded days (Q, D) and (T, D)."""
        asked = nn.functional.normalize(query @ self.query, dim=-1)
        given = nn.functional.normalize(key @ self.key, dim=-1)
        sharp = SHARPEST * torch.sigmoid(self.sharpness)[:, None, None]
        return torch.exp(sharp * (asked @ given.mT - 1.0))

    def pool(self, weights: Tensor, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Average what was observed.

        Args:
            weights: shape (H, Q, T).
            values: W numbers, an equal part for each head, shape (N, T, W), 0 where not observed.
            observed: shape (N, T), bool.

        Returns:
            Averages (N, Q, W), which go to 0 far from all observations, and the intensity
            (N, Q, H): the log of how much was observed near a day.
        """
        heads = len(weights)
        parts = values.unflatten(-1, (heads, -1))
        total = torch.einsum("hqt,nt->nqh", weights, observed.to(values.dtype))
        total = total + BLANK
        summed = torch.einsum("hqt,nthw->nqhw", weights, parts)
        return (summed / total.unsqueeze(-1)).flatten(-2), total.log()
