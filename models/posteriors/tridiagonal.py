r"""Gaussians with a tridiagonal precision over the days of a series, and a GP prior beside them.

The sites of each series and latent are packed to its V different days that are not masked, in order
of time. Between them are pair sites :math:`\rho_i`, and with the sites' w the first-order chain

.. math:: f_1 \sim N(0, 1), \quad f_{i+1} \mid f_i \sim N(\rho_i f_i, 1 - \rho_i^2)

is filtered in scalars: :math:`p_i = s_i / (1 + w_i s_i)` and
:math:`s_{i+1} = \rho_i^2 p_i + 1 - \rho_i^2` from :math:`s_1 = 1`. Backward, given the next value,

.. math:: c_i = \rho_i p_i / s_{i+1}, \quad r_i = (1 - \rho_i^2) p_i / s_{i+1}

and with C having c above its diagonal and :math:`U = (I - C)^{-1}` the covariance is
:math:`\Sigma = U \mathrm{diag}(r) U^T`. No number is large, no factor above 1.

A series with fewer days than the fullest of its batch has places that are independent, unit
variance in q and prior, and that nothing depends on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from terralatent.models.kernels.temporal import TemporalKernel

WHITE = 1e-10
"""Share of the prior's variance that belongs to one day alone. Without it constant kernels, or days
a minute apart, are singular; of a kernel that is singular without it, the KL measures this share
and is far too large."""


@dataclass(frozen=True)
class Calendar:
    """What no series changes."""

    nodes: Tensor
    """The D different days of the calendar, (D,)."""

    node: Tensor
    """Which of these each site is on, (T,)."""

    between: Tensor
    """Prior covariances of these days and then the queries with these days, (L, D + Q, D)."""

    @classmethod
    def of(cls, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> Calendar:
        nodes, node = torch.unique(days, return_inverse=True)
        if not len(nodes):
            nodes = days.new_zeros(1)  # a day that nobody saw
        lag = torch.cat([nodes, queries])[:, None] - nodes
        return cls(nodes, node, kernel.covariance(lag).movedim(-1, 0))

    @property
    def days(self) -> int:
        """D."""
        return len(self.nodes)

    def merge(self, values: Tensor) -> Tensor:
        """Add up (N, T, L) by day, (N, D, L)."""
        return values.new_zeros(len(values), self.days, values.shape[2]).index_add(
            1, self.node, values
        )

    def pair_sites(self, w: Tensor, coupling: Tensor) -> Tensor:
        """Return the coupling of the last seen site of each day, (N, D, L); 0 if there is none."""
        seen = w > 0
        index = self.node[:, None].expand_as(w)
        order = torch.arange(w.shape[1], device=w.device)[:, None].where(seen, -1)
        none = order.new_full((len(w), self.days, w.shape[2]), -1)
        last = none.scatter_reduce(1, index, order, "amax")
        if not w.shape[1]:
            return w.new_zeros(last.shape)
        return coupling.where(seen, 0.0).gather(1, last.clamp_min(0))


@dataclass(frozen=True)
class Bidiagonal:
    """q and prior of N series of L latents at V days each, float64; the means aside."""

    sites: Tensor
    """Which days those are, (N, L, V), int64."""

    held: Tensor
    """Whether there are that many, (N, L, V)."""

    seen: Tensor
    """Which of all days they are, (N, D, L)."""

    w: Tensor
    """(N, L, V)."""

    rho: Tensor
    """From each day to the next, (N, L, V); 0 from the last."""

    kept: Tensor
    """p, (N, L, V)."""

    back: Tensor
    """c, (N, L, V)."""

    noise: Tensor
    """r, (N, L, V)."""

    spread: Tensor
    """U, (N, L, V, V)."""

    factor: Tensor
    """A, of the prior covariance, (N, L, V, V)."""

    @classmethod
    def given(cls, calendar: Calendar, w: Tensor, coupling: Tensor | None = None) -> Bidiagonal:
        """Pack precisions (N, T, L) and couplings, or those of the kernel."""
        merged = calendar.merge(w)
        seen = merged > 0
        most = max(1, int(seen.sum(1).max()) if seen.numel() else 0)
        sites = torch.argsort((~seen).int(), dim=1, stable=True)[:, :most].transpose(1, 2)
        held = seen.transpose(1, 2).gather(2, sites)
        latent = torch.arange(w.shape[2], device=w.device)[:, None, None]
        prior = calendar.between[latent, sites[..., None], sites[..., None, :]]
        eye = torch.eye(most, dtype=w.dtype, device=w.device)
        apart = held[..., None] & held[..., None, :] & (eye == 0)
        prior = eye.where(~apart, (1.0 - WHITE) * prior)
        if coupling is None:
            rho = prior.diagonal(1, -2, -1)
        else:
            pairs = calendar.pair_sites(w, coupling).transpose(1, 2).gather(2, sites)[..., :-1]
            rho = pairs.where(held[..., 1:], 0.0).clamp(WHITE - 1.0, 1.0 - WHITE)
        rho = pad(rho, (0, 1))
        packed = merged.transpose(1, 2).gather(2, sites)
        kept, ahead = _filter(packed, rho)
        back = rho * kept / ahead
        spread = torch.linalg.solve_triangular(
            eye - torch.diag_embed(back[..., :-1], 1),
            eye.expand_as(prior),
            upper=True,
            unitriangular=True,
        )
        noise = (1.0 - rho) * (1.0 + rho) * kept / ahead
        factor = torch.linalg.cholesky(prior)
        return cls(sites, held, seen, packed, rho, kept, back, noise, spread, factor)

    @property
    def var(self) -> Tensor:
        """Marginal variances, (N, L, V)."""
        return (self.spread.square() @ self.noise[..., None])[..., 0]

    def means(self, eta: Tensor) -> Tensor:
        """Return m, (*, N, L, V), for etas by day, (*, N, D, L)."""
        packed = eta.transpose(-1, -2).gather(-1, self.sites.expand(*eta.shape[:-3], -1, -1, -1))
        mean = torch.zeros_like(packed[..., 0])
        filtered = []
        for site in range(packed.shape[-1]):
            push = packed[..., site] - self.w[..., site] * mean
            filtered.append(mean + self.kept[..., site] * push)
            mean = self.rho[..., site] * filtered[-1]
        ahead = torch.stack(filtered, dim=-1)
        # Given the next value the mean is m_i + c_i (f_{i+1} - rho_i m_i).
        own = ahead - self.back * self.rho * ahead
        smoothed: Tensor = (self.spread @ own[..., None])[..., 0]
        return smoothed

    def kl(self, mean: Tensor) -> Tensor:
        """Return KL[q || p], (N, L)."""
        white = torch.linalg.solve_triangular(
            self.factor, torch.cat([self.spread, mean[..., None]], dim=-1), upper=False
        )
        trace = white[..., :-1].square().sum(-2) * self.noise
        log_dets = 2.0 * self.factor.diagonal(dim1=-2, dim2=-1).log() - self.noise.log()
        kl: Tensor = 0.5 * (log_dets + (trace - 1.0) + white[..., -1].square()).sum(-1)
        return kl

    def conditional(self, cross: Tensor) -> Conditional:
        """Return the conditional on S days, given their prior covariances with all, (L, S, D)."""
        latent = torch.arange(len(cross), device=cross.device)[:, None]
        near = cross.transpose(1, 2)[latent, self.sites]
        near = ((1.0 - WHITE) * near).where(self.held[..., None], 0.0)
        explained = torch.linalg.solve_triangular(self.factor, near, upper=False)
        weights = torch.linalg.solve_triangular(self.factor.mT, explained, upper=True)
        return Conditional(
            explained, weights, self.noise.sqrt()[..., None] * (self.spread.mT @ weights)
        )

    def lay(self, own: Tensor, others: Tensor) -> Tensor:
        """Put (N, L, V) in its places among all days, (N, D, L), and ``others`` in the rest."""
        full = others.transpose(1, 2).scatter(2, self.sites, own).transpose(1, 2)
        return full.where(self.seen, others)


@dataclass(frozen=True)
class Conditional:
    """The prior's conditional on S days given the values at the V days of a series."""

    explained: Tensor
    """X, (N, L, V, S)."""

    weights: Tensor
    """G^T, (N, L, V, S)."""

    left: Tensor
    """A root of what q leaves: its columns' products are G Sigma G^T, (N, L, V, S)."""

    def mean(self, mean: Tensor) -> Tensor:
        """Return means, (*, N, S, L), for m (*, N, L, V)."""
        return (self.weights.mT @ mean[..., None])[..., 0].transpose(-1, -2)

    def var(self, own: Tensor | float) -> Tensor:
        """Return variances, (N, S, L), for prior variances (L,)."""
        drop = self.explained.square().sum(-2) - self.left.square().sum(-2)
        return own - drop.transpose(1, 2)

    def cov(self, own: Tensor) -> Tensor:
        """Return covariances, (N, L, S, S), for prior ones (L, S, S)."""
        return own - self.explained.mT @ self.explained + self.left.mT @ self.left


def _filter(w: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
    """Return p, and s of the next day, each (N, L, V)."""
    spread = torch.ones_like(w[..., 0])
    kept, ahead = [], []
    for precision, coupling in zip(w.unbind(-1), rho.unbind(-1), strict=True):
        kept.append(spread / (1.0 + precision * spread))
        spread = coupling.square() * kept[-1] + (1.0 - coupling) * (1.0 + coupling)
        ahead.append(spread)
    return torch.stack(kept, dim=-1), torch.stack(ahead, dim=-1)
