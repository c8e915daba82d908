"""The calendar of sites and queries as one chain of steps, with all that no series changes."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel


@dataclass(frozen=True)
class Chain:
    """How a Markov state moves from step to step; a step is a site or a query.

    The state is turned so that the series itself is the first of its n states: H = (1, 0, ..., 0).
    """

    a: Tensor
    """How the state moves to each step from the one before, (S, L, n, n)."""

    q: Tensor
    """The different elements of the noise that it gains on the way, (S, L, n (n + 1) / 2)."""

    start: Tensor
    """Those of its covariance before the first step, (L, n (n + 1) / 2)."""

    moves: tuple[bool, ...]
    """Whether any time passes before a step."""

    steps: tuple[int, ...]
    """The site of each step; -1 at a query."""

    queries: Tensor
    """Which query each step without a site is, in the order of the chain, (Q,)."""

    measures: Tensor | None
    """What of the state is wanted at each query, (Q, J, L, n, 1), in the order of the chain; None
    for the series itself."""


def pairs(states: int) -> list[tuple[int, int]]:
    """Return the places of the different elements of a covariance, row by row."""
    return [(i, j) for i in range(states) for j in range(i, states)]


class Walk(NamedTuple):
    """What filter and smoother find along a chain for N series."""

    mean: Tensor
    """Posterior mean on the days of the sites, (N, T, L), or (N, 0, L) where not wanted."""

    var: Tensor
    """Marginal variance, the same shape."""

    query_mean: Tensor
    """Posterior mean of each measure at the queries, (N, Q, L, J)."""

    query_var: Tensor
    """Marginal variance, the same shape."""

    spread: Tensor
    """Variance s predicted for each site from those before it, (N, T, L), or (N, 0, L) where not
    wanted."""

    innovation: Tensor
    """What each site adds to that prediction, r = eta - w m_0, the same shape."""

    def divergence(self, w: Tensor, eta: Tensor) -> Tensor:
        r"""Return the KL of a walk with all parts, (N, L), log|B| being the sum of log(1 + w s)."""
        pull = self.mean * (eta - w * self.mean) - w * self.var
        return 0.5 * (torch.log1p(w * self.spread) + pull).sum(1)


class Smoothed(NamedTuple):
    """A posterior as the smoother finds it."""

    mean: Tensor
    """On the days of the sites, (N, T, L)."""

    var: Tensor
    """The same shape."""

    query_mean: Tensor
    """At the queries, (N, Q, L)."""

    query_var: Tensor
    """The same shape."""

    kl: Tensor
    """KL divergence from the prior, (N, L); 0 exactly for an empty series."""


class Covaried(NamedTuple):
    """Means at Q queries, and the covariances of each two of them."""

    mean: Tensor
    """(N, Q, L)."""

    pairs: Tensor
    """Of each two queries, and each with itself, (N, Q (Q + 1) / 2, L)."""

    first: Tensor
    """Which the one of a pair is, (Q (Q + 1) / 2,)."""

    second: Tensor
    """The other."""

    @property
    def covariance(self) -> Tensor:
        """Of each latent, (N, L, Q, Q)."""
        queries = self.mean.shape[1]
        place = self.first.new_empty(queries, queries)
        order = torch.arange(len(self.first))
        place[self.first, self.second] = place[self.second, self.first] = order
        by_latent = self.pairs[:, place.flatten()].mT
        square: Tensor = by_latent.unflatten(-1, (queries, queries))
        return square

    def functionals(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of linear functionals, (N, K) each, by their weights (K, Q, L)."""
        weights = weights.to(self.mean)
        twice = torch.where(self.first == self.second, 1.0, 2.0).to(weights)[:, None]
        shares = weights[:, self.first] * weights[:, self.second] * twice
        variance = self.pairs.flatten(1) @ shares.flatten(1).T
        return self.mean.flatten(1) @ weights.flatten(1).T, variance.clamp_min(0.0)


def masked(w: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
    """Return both with masked sites set to 0, where no gradient passes."""
    seen = w > 0
    return w.where(seen, 0.0) if w.requires_grad else w, eta.where(seen, 0.0)


def link(
    kernel: TemporalKernel,
    days: Tensor,
    queries: Tensor,
    like: Tensor,
    parts: tuple[slice, ...] = (),
    since: Tensor | None = None,
) -> Chain:
    """Merge the queries into the calendar and move the kernel over its gaps.

    Arguments:
        kernel: Of L latents.
        days: Of the sites, (T,), float64, ascending.
        queries: (Q,), float64, in any order.
        like: Gives the dtype and the device of what is returned.
        parts: The states of each part of the kernel that is wanted on its own; none for the
            series itself.
        since: The day of the state before the first step, (), float64; that of the first step
            if None.
    """
    n = kernel.state_dim
    calendar, order = torch.sort(torch.cat([days, queries]), stable=True)
    gaps = calendar.diff(prepend=calendar[:1] if since is None else since[None])
    h = kernel.measurement()
    eye = torch.eye(n, dtype=h.dtype, device=h.device).expand(kernel.latents, -1, -1)
    turn = torch.cat([h[:, None], eye[:, 1:]], dim=1)
    turn_back = torch.cat([2.0 * eye[:, :1] - h[:, None], eye[:, 1:]], dim=1)
    a, q = kernel.transition(gaps)
    p = turn @ kernel.stationary() @ turn.mT
    rows, columns = torch.tensor(pairs(n), device=h.device).unbind(-1)
    measures = None
    if parts:
        kept = torch.zeros(len(parts), n, dtype=h.dtype, device=h.device)
        for part, states in zip(kept, parts, strict=True):
            part[states] = 1.0
        measures = ((kept[:, None] * h)[:, :, None] @ turn_back).mT.to(like)
        measures = measures.expand(len(queries), -1, -1, -1, -1)
    return Chain(
        a=(turn @ a @ turn_back).to(like),
        q=(turn @ q @ turn.mT)[..., rows, columns].to(like),
        start=p[..., rows, columns].to(like),
        moves=tuple((gaps > 0).tolist()),
        steps=tuple(at if at < len(days) else -1 for at in order.tolist()),
        queries=order[order >= len(days)] - len(days),
        measures=measures,
    )
