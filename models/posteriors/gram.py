"""Weights of features given sites: the Gram matrix of the features, and what follows from it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MOST = 2**28
"""Most numbers in the products of features of one latent."""


@dataclass(frozen=True)
class Products:
    """The features of one latent on S days, and the products of any two on the same day."""

    phi: Tensor
    """(S, M)."""

    each: Tensor
    """(S, M (M + 1) / 2), those of the lower triangle, row by row."""

    @classmethod
    def of(cls, phi: Tensor) -> "Products":
        """Return those of features (S, M), float64.

        Raises:
            ValueError: If they would need too much memory.
        """
        rows, columns = _triangle(phi)
        if len(phi) * len(rows) > MOST:
            raise ValueError(
                f"{phi.shape[1]} features on {len(phi)} dates have {len(phi) * len(rows):,} "
                f"products, more than {MOST:,}: take fewer points or functions, or a kernel of "
                "fewer factors and without white noise."
            )
        return cls(phi, phi[:, rows] * phi[:, columns])

    def first(self, days: int) -> "Products":
        """Return those on the first days."""
        return Products(self.phi[:days], self.each[:days])

    def gram(self, w: Tensor) -> Tensor:
        """Return G, (N, M, M), for precisions (N, S)."""
        size = self.phi.shape[1]
        rows, columns = _triangle(self.phi)
        order = torch.arange(len(rows), device=rows.device)
        place = order.new_empty(size, size)
        place[rows, columns] = place[columns, rows] = order
        eye = torch.eye(size, dtype=w.dtype, device=w.device)
        full = (w @ self.each).index_select(1, place.flatten())
        return full.view(len(w), size, size) + eye

    def form(self, matrix: Tensor) -> Tensor:
        """Return the quadratic forms of the features, (N, S), for symmetric (N, M, M)."""
        rows, columns = _triangle(self.phi)
        times = 2.0 - (rows == columns).to(matrix)
        lower = matrix.flatten(1).index_select(1, rows * self.phi.shape[1] + columns)
        return (lower * times) @ self.each.T


@dataclass(frozen=True)
class Weights:
    """The weights of N series of one latent given their sites, float64."""

    mean: Tensor
    """(N, M)."""

    cov: Tensor
    """The inverse of G, (N, M, M)."""

    log_det: Tensor
    """log|G|, (N,)."""

    @classmethod
    def given(cls, sites: Products, w: Tensor, eta: Tensor) -> "Weights":
        return cls(*_Condition.apply(sites.gram(w), eta @ sites.phi))  # type: ignore[no-untyped-call]

    def look(self, products: Products) -> tuple[Tensor, Tensor]:
        """Return mean and variance of what the weights explain, (N, S)."""
        return self.mean @ products.phi.T, products.form(self.cov)

    def kl(self, explained: Tensor) -> Tensor:
        """Return KL[q || p], (N,), for the sum of w times the explained variance at the sites."""
        return 0.5 * (self.log_det + self.mean.square().sum(-1) - explained)


class _Condition(torch.autograd.Function):
    r"""Mean, inverse and log-determinant from :math:`G` and :math:`b = \Phi^T \eta`.

    Backward there is nothing left to factor: with the inverse A and gradients marked by a bar,
    :math:`\bar b = A \bar m` and :math:`\bar G = \bar d A - A \bar A A - \bar b m^T`. Through the
    Cholesky factor the same takes twice as long.
    """

    @staticmethod
    def forward(ctx: Any, gram: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        factor = torch.linalg.cholesky(gram)
        # Not by the inverse: beside precise sites b is large, and so would be what it rounds off.
        mean = torch.cholesky_solve(told[..., None], factor)[..., 0]
        cov = torch.cholesky_inverse(factor)
        ctx.save_for_backward(factor, mean, cov)
        return mean, cov, 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, mean_bar: Tensor, cov_bar: Tensor, log_det_bar: Tensor
    ) -> tuple[Tensor, Tensor]:
        factor, mean, cov = ctx.saved_tensors
        told_bar = torch.cholesky_solve(mean_bar[..., None], factor)[..., 0]
        gram_bar = log_det_bar[:, None, None] * cov - cov @ cov_bar @ cov
        return gram_bar - told_bar[..., None] * mean[:, None], told_bar


def _triangle(phi: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows and columns of the lower triangle of an (M, M) matrix."""
    rows, columns = torch.tril_indices(phi.shape[-1], phi.shape[-1], device=phi.device)
    return rows, columns
