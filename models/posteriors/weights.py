r"""Posteriors of a latent series that is linear in a few weights: what these forms share.

On the days that matter a series is a combination of M features, fixed by calendar and kernel, and
a rest that the sites do not see, independent of the weights:

.. math:: f(t) = \phi(t)^T u + r(t), \quad u \sim N(0, I), \quad r(t) \sim N(0, \rho(t))

The weights are then conditioned exactly. With :math:`\Phi` of the days of the sites,

.. math:: G = I + \Phi^T W \Phi, \quad \bar u = G^{-1} \Phi^T \eta

.. math:: m_* = \phi_*^T \bar u, \quad v_* = \rho_* + e_*, \quad e_* = \phi_*^T G^{-1} \phi_*

.. math:: KL[q \| p] = \tfrac{1}{2} \big( \log|G| + |\bar u|^2 - \sum_t w_t e_t \big)

which is that of q(u), as :math:`\mathrm{tr}\, G^{-1} - M = -\sum_t w_t e_t`, and is 0 to the last
bit for an empty series. :math:`\eta` holds the sites' values, so masked sites drop out.

What is quadratic in the features has M (M + 1) / 2 different products, which no series changes:
:math:`\Phi^T W \Phi` of all series is one product of matrices with the precisions, and so is
:math:`e` with the elements of :math:`G^{-1}`. Time :math:`O(N L (M^2 (T + Q) + M^3))`, memory
:math:`O(M^2 (T + Q))` and a tile of series, :math:`O(N L M^2)` where gradients are taken. The
algebra is in float64 whatever the sites are.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.contract import Inference, Posterior, checked_sites
from terralatent.models.posteriors.tiles import ROOM, by_tiles

CACHED = 2**19
"""Numbers in the largest array of a tile on a CPU. It is passed over many times, with little to do
at each, and up to twice as fast where it stays in the cache."""

MOST = 2**28
"""Most numbers in the products of features of one latent."""


@dataclass(frozen=True)
class Features:
    """How a series depends on its weights, on S days."""

    phi: Tensor
    """The features, (L, S, M), float64."""

    rest: Tensor
    """Variance of what they leave out, (L, S), float64, not negative."""


class Weighted(Inference):
    """Conditioning of weights; see :class:`~terralatent.models.posteriors.contract.Inference`."""

    @abstractmethod
    def features(self, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> Features:
        """Return those on the days of the sites and then on the queries, S = T + Q."""

    @abstractmethod
    def part_features(
        self, kernel: TemporalKernel, days: Tensor, queries: Tensor
    ) -> tuple[Features, ...]:
        """Return those of each part of the kernel on the queries, S = Q, of the same weights."""

    def infer(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
    ) -> Posterior:
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        whole = self.features(kernel, days, queries)

        def condition(latent: int) -> Callable[..., tuple[Tensor, ...]]:
            products = Products.of(whole.phi[latent])
            sites = products.first(len(days))

            def work(w: Tensor, eta: Tensor) -> tuple[Tensor, ...]:
                weights = Weights.given(sites, w, eta)
                mean, explained = weights.look(products)
                kl = weights.kl((w * explained[:, : len(days)]).sum(-1))
                return mean, explained + whole.rest[latent], kl

            return work

        mean, var, kl = _by_latents(condition, whole, w, eta)
        parts = [len(days), len(queries)]
        at, asked = mean.split(parts, dim=1)
        at_var, asked_var = var.split(parts, dim=1)
        return Posterior(*(each.to(w) for each in (at, at_var, asked, asked_var, kl)))

    def marginals(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        whole = self.features(kernel, days, queries)
        first = 0 if query_days is None else len(days)
        asked = Features(whole.phi[:, first:], whole.rest[:, first:])
        mean, var = _look(w, eta, whole, (asked,))
        return mean[..., 0], var[..., 0]

    def components(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        whole = self.features(kernel, days, queries)
        return _look(w, eta, whole, self.part_features(kernel, days, queries))

    def means(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, etas: Tensor, queries: Tensor
    ) -> Tensor:
        whole = self.features(kernel, days, queries)
        sites, asked = whole.phi.split([len(days), len(queries)], dim=1)

        def condition(latent: int) -> Callable[..., tuple[Tensor, ...]]:
            products = Products.of(sites[latent])

            def work(w: Tensor, etas: Tensor) -> tuple[Tensor, ...]:
                factor = torch.linalg.cholesky(products.gram(w))
                weights = torch.cholesky_solve((etas @ products.phi).mT, factor)
                return ((asked[latent] @ weights).mT,)

            return work

        (mean,) = _by_latents(condition, whole, w, etas.transpose(0, 1))
        return mean.transpose(0, 1)


def _look(
    w: Tensor, eta: Tensor, whole: Features, asked: tuple[Features, ...]
) -> tuple[Tensor, Tensor]:
    """Return mean and variance, (N, S, L, J), of J series of the weights, like ``w``."""
    days = w.shape[1]

    def condition(latent: int) -> Callable[..., tuple[Tensor, ...]]:
        sites = Products.of(whole.phi[latent, :days])
        products = [Products.of(each.phi[latent]) for each in asked]
        rests = torch.stack([each.rest[latent] for each in asked], dim=-1)

        def work(w: Tensor, eta: Tensor) -> tuple[Tensor, ...]:
            weights = Weights.given(sites, w, eta)
            mean, var = zip(*map(weights.look, products), strict=True)
            return torch.stack(mean, dim=-1), torch.stack(var, dim=-1) + rests

        return work

    mean, var = _by_latents(condition, whole, w, eta)
    return mean.transpose(-1, -2).to(w), var.transpose(-1, -2).to(w)


def _by_latents(
    condition: Callable[[int], Callable[..., tuple[Tensor, ...]]],
    whole: Features,
    *series: Tensor,
) -> tuple[Tensor, ...]:
    """Return ``condition(latent)(*series)`` for each latent, all with the latents last.

    One at a time, so that the products of features of one are laid out at a time.
    """
    latents, _, size = whole.phi.shape
    each = [one.double().movedim(-1, 0).contiguous() for one in series]
    room = CACHED if whole.phi.device.type == "cpu" else ROOM
    found = [
        by_tiles(condition(latent), size * size, *(one[latent] for one in each), room=room)
        for latent in range(latents)
    ]
    return tuple(torch.stack(parts, dim=-1) for parts in zip(*found, strict=True))


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
