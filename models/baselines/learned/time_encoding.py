"""Days as networks see them: sines of learned frequencies, counted from a day the model knows."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from terralatent.models.sensor.networks import YEAR_DAYS

__all__ = ["TimeEncoding"]

LONGEST_DAYS, SHORTEST_DAYS = 1000.0, 12.0
"""Periods from which the learned frequencies start."""

ORIGIN = 17897.0
"""2019-01-01, in days since 1970, until a model is started on series of other years."""


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
