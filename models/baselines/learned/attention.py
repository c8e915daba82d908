"""Days as networks see them, and attention from days to days.

Days are sines of learned frequencies, counted from a day that the model knows. What was observed
near a day says most about it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from terralatent.models.sensor.networks import YEAR_DAYS

__all__ = ["TimeAttention", "TimeEncoding"]

LONGEST_DAYS, SHORTEST_DAYS = 1000.0, 12.0
"""Periods from which the learned frequencies start."""

ORIGIN = 17897.0
"""2019-01-01, in days since 1970, until a model is started on series of other years."""

SHARPEST = 30.0
"""Largest sharpness: exp(-2 * 30) is still a normal float32 number."""

BLANK = 1e-4
"""Weight of nothing: what has no observation near enough to weigh more says 0."""


class TimeEncoding(nn.Module):
    r"""A vector for each day: (t, sin(w_1 t + b_1), ..., sin(w_{D-1} t + b_{D-1})).

    Time t is in years from the middle of what the model was started on, so that a model says the
    same of a day whatever else it is given. Phases start in pairs a quarter turn apart: then the
    inner product of two vectors is large where their days are close.

    References:
        | Time2Vec: learning a vector representation of time (Kazemi et al., 2019)

    Args:
        width: D.
    """

    span: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        pairs = width // 2
        periods = torch.logspace(math.log10(LONGEST_DAYS), math.log10(SHORTEST_DAYS), pairs)
        rates = 2.0 * math.pi * YEAR_DAYS / periods
        phases = torch.tensor([0.0, math.pi / 2.0]).repeat(pairs)
        self.rate = nn.Parameter(rates.repeat_interleave(2)[: width - 1].clone())
        self.phase = nn.Parameter(phases[: width - 1].clone())
        span = torch.tensor([ORIGIN - 365.0, ORIGIN + 365.0], dtype=torch.float64)
        self.register_buffer("span", span)

    def set_span(self, first: float, last: float) -> None:
        """Set the first and the last day of what the model learns from."""
        with torch.no_grad():
            self.span.copy_(torch.tensor([first, last], dtype=torch.float64))

    def references(self, count: int) -> Tensor:
        """Return days evenly laid over the span, its ends included, shape (count,), float64."""
        steps = torch.linspace(0.0, 1.0, count, dtype=torch.float64, device=self.span.device)
        return self.span[0] + (self.span[1] - self.span[0]) * steps

    def forward(self, days: Tensor) -> Tensor:
        """Encode days since 1970-01-01, any shape (*), float64, as (*, D), float32."""
        years = ((days - self.span.mean()) / YEAR_DAYS).float().unsqueeze(-1)
        return torch.cat([years, torch.sin(self.rate * years + self.phase)], dim=-1)


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
        queries = nn.functional.normalize(query @ self.query, dim=-1)
        keys = nn.functional.normalize(key @ self.key, dim=-1)
        sharp = SHARPEST * torch.sigmoid(self.sharpness)[:, None, None]
        return torch.exp(sharp * (queries @ keys.mT - 1.0))

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
