"""Bands that an observation lacks, filled by what the others say of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BandFill"]


class BandFill(nn.Module):
    r"""Fill missing bands with their expectation given those that are there.

    The bands are taken as jointly Gaussian with location m and scatter S, so that with o for the
    bands that are there

    .. math:: E[x | x_o] = m + S_{\cdot o} S_{oo}^{-1} (x_o - m_o)

    Args:
        bands: Number of bands B. Until :meth:`relate` is called, they say nothing of each other.
    """

    location: Tensor
    scatter: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("location", torch.zeros(bands))
        self.register_buffer("scatter", torch.eye(bands))

    def relate(self, location: Tensor, scatter: Tensor) -> None:
        """Set location (B,) and scatter (B, B), normalised units; its scale does not matter."""
        self.location.copy_(location)
        self.scatter.copy_(scatter / scatter.diagonal().mean())

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """Return the values with missing bands filled, shape (M, B), differentiable in them.

        Args:
            values: Normalised bands, shape (M, B), float32; finite also where not valid.
            valid: shape (M, B), bool. A row of which no band is valid stays as it is.
        """
        (partly,) = (valid.any(-1) & ~valid.all(-1)).nonzero(as_tuple=True)
        if not len(partly):
            return values
        patterns, which = torch.unique(valid[partly], dim=0, return_inverse=True)
        slopes = self.slopes(patterns).to(values.dtype)
        filled = values.clone()
        for number, pattern in enumerate(patterns):
            rows = partly[which == number]
            guess = self.location + (values[rows] - self.location) * pattern @ slopes[number]
            filled[rows] = torch.where(pattern, values[rows], guess)
        return filled

    def slopes(self, patterns: Tensor) -> Tensor:
        """Return by how much bands that are there move the expectation of all, (G, B, B), float64.

        Args:
            patterns: Which bands are there, (G, B), bool.
        """
        there = patterns.double()
        scatter = self.scatter.double()
        # Bands that are missing become independent of all others, which leaves them out.
        known = there[:, :, None] * scatter * there[:, None, :] + torch.diag_embed(1.0 - there)
        slopes: Tensor = torch.linalg.solve(known, there[:, :, None] * scatter)
        return slopes
