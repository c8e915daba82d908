"""The calendar of sites and queries as one chain of visits, with all that no series changes."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from terralatent.models.kernels.temporal import TemporalKernel


@dataclass(frozen=True)
class Chain:
    """The steps of a Markov state from visit to visit; a visit is a site or a query.

    The moments of a state are one column of r rows: its n means, then the n (n + 1) / 2
    different elements of its covariance, those with the first state first. So are their
    adjoints. The state is turned so that the series itself is the first: H = (1, 0, ..., 0).
    """

    states: int
    """n."""

    start: Tensor
    """The moments before the first visit, (L, r, 1)."""

    forward: tuple[Tensor, ...]
    """For each visit, how moments move there from the visit before, (L, r, r)."""

    noise: tuple[Tensor, ...]
    """For each visit, what the moments gain on the way, (L, r, 1)."""

    backward: tuple[Tensor, ...]
    """For each visit, how its adjoints move to the visit before, (L, r, r)."""

    moves: tuple[bool, ...]
    """Whether any time passes before a visit."""

    visits: tuple[int, ...]
    """The site of each visit; -1 at a query."""

    asked: Tensor
    """The query of each visit that is one, in the order of the chain, (Q,)."""

    measures: Tensor | None
    """What is asked at queries, (J, L, n, 1); None for the series itself."""

    full: Tensor
    """Where each element of a covariance is among the different ones, (n * n,)."""

    rows: Tensor
    """The row of each different element outside the first row and column."""

    columns: Tensor
    """The column of the same."""


class Walk(NamedTuple):
    """What filter and smoother find along a chain for N series."""

    mean: Tensor
    """Posterior mean on the days of the sites, (N, T, L), or (N, 0, L) where not asked for."""

    var: Tensor
    """Marginal variance, the same shape."""

    query_mean: Tensor
    """Posterior mean of each measure at the queries, (N, Q, L, J)."""

    query_var: Tensor
    """Marginal variance, the same shape."""

    spread: Tensor
    """Variance s predicted for each site from those before it, (N, T, L)."""

    innovation: Tensor
    """What each site adds to that prediction, r = eta - w m_0, (N, T, L)."""


def link(
    kernel: TemporalKernel,
    days: Tensor,
    queries: Tensor,
    like: Tensor,
    parts: tuple[slice, ...] = (),
) -> Chain:
    """Merge the queries into the calendar and move the kernel over its steps.

    Arguments:
        kernel: Of L latents.
        days: Of the sites, (T,), float64, ascending.
        queries: (Q,), float64, in any order.
        like: Gives the dtype and the device of what is returned.
        parts: The states of each part of the kernel that is asked for on its own; none for the
            series itself.
    """
    n = kernel.state_dim
    calendar, order = torch.sort(torch.cat([days, queries]), stable=True)
    steps = calendar.diff(prepend=calendar[:1])
    h = kernel.measurement()
    eye = torch.eye(n, dtype=h.dtype, device=h.device).expand(kernel.latents, -1, -1)
    turn = torch.cat([h[:, None], eye[:, 1:]], dim=1)
    turn_back = torch.cat([2.0 * eye[:, :1] - h[:, None], eye[:, 1:]], dim=1)
    a, q = kernel.transition(steps)
    a, q = turn @ a @ turn_back, turn @ q @ turn.mT
    p = turn @ kernel.stationary() @ turn.mT

    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    rows, columns = torch.tensor(pairs, device=like.device).unbind(-1)
    zeros = torch.zeros(n, dtype=h.dtype, device=h.device)
    gained = q[..., rows, columns]
    measures = None
    if parts:
        kept = torch.zeros(len(parts), n, dtype=h.dtype, device=h.device)
        for part, states in zip(kept, parts, strict=True):
            part[states] = 1.0
        measures = ((kept[:, None] * h)[:, :, None] @ turn_back).mT.to(like)
    return Chain(
        states=n,
        start=torch.cat([zeros.expand(len(p), -1), p[..., rows, columns]], -1)[..., None].to(like),
        forward=_moment_map(a, rows, columns).to(like).unbind(0),
        noise=torch.cat([zeros.expand(*q.shape[:2], -1), gained], -1)[..., None].to(like).unbind(0),
        backward=_moment_map(a.mT, rows, columns).to(like).unbind(0),
        moves=tuple((steps > 0).tolist()),
        visits=tuple(at if at < len(days) else -1 for at in order.tolist()),
        asked=order[order >= len(days)] - len(days),
        measures=measures,
        full=torch.tensor(
            [pairs.index((min(i, j), max(i, j))) for i in range(n) for j in range(n)],
            device=like.device,
        ),
        rows=rows[n:],
        columns=columns[n:],
    )


def _moment_map(a: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    r"""Return the map of (m, P) to (A m, A P A^T) on moments, (S, L, r, r).

    Element (i, j) of :math:`A P A^T` has :math:`A_{ik} A_{jl} + A_{il} A_{jk}` of :math:`P_{kl}`.
    """
    left, right = a[..., rows, :], a[..., columns, :]
    both = left[..., rows] * right[..., columns] + left[..., columns] * right[..., rows]
    both = both * torch.where(rows == columns, 0.5, 1.0).to(both)
    n, size = a.shape[-1], both.shape[-1]
    return torch.cat([pad(a, (0, size)), pad(both, (n, 0))], dim=-2)
