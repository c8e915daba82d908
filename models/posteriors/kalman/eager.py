"""Kalman filter and smoother in eager torch: on any device, and for parts of a kernel.

The recursion is that of :mod:`terralatent.models.posteriors.markov`, whose symbols are used here.
The moments of a state are one column of r rows: its n means, then the n (n + 1) / 2 different
elements of its covariance, those with the first state first. So are their adjoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from terralatent.models.posteriors.kalman.chain import Chain, Walk, pairs

MAPS = 2**28
"""Most numbers in the matrices that move the moments along a calendar."""

TILE = 8192
"""Series times latents in a tile when nothing takes gradients: a step then stays in the cache."""


def walk(chain: Chain, w: Tensor, eta: Tensor, *, sites: bool, start: Tensor | None = None) -> Walk:
    """Filter and smooth sites (N, T, L), with mean and variance on their days if wanted.

    Arguments:
        chain: What calendar and kernel fix.
        w: Precisions, (N, T, L).
        eta: The same shape and dtype.
        sites: Whether mean and variance are wanted on the days of the sites.
        start: The moments of each series before the first step, (N, L, r); the chain's if None.
    """
    size = max(1, TILE // w.shape[2])
    if torch.is_grad_enabled() or not len(w):
        size = max(1, len(w))
    moves = _prepare(chain)
    starts = _starts(moves, w, start)
    tiles = []
    for w_tile, eta_tile, begun in zip(*(e.split(size) for e in (w, eta, starts)), strict=True):
        # Series last: lanes of one latent lie side by side.
        w_lanes, eta_lanes = (tile.permute(1, 2, 0).contiguous() for tile in (w_tile, eta_tile))
        trace, _ = _filter(moves, w_lanes, eta_lanes, begun.permute(1, 2, 0))
        at_sites, at_queries = _smooth(moves, trace, w_lanes, sites=sites)
        at_queries = at_queries.permute(0, 2, 3, 1, 4)
        tiles.append(
            (
                *at_sites.unbind(0),
                *at_queries.unbind(0),
                _by_site(trace.variances, w_lanes),
                _by_site(trace.innovations, w_lanes),
            )
        )
    joined = (torch.cat(parts, dim=-1).movedim(-1, 0) for parts in zip(*tiles, strict=True))
    return Walk(*(part.contiguous() for part in joined))


def carry(
    chain: Chain, w: Tensor, eta: Tensor, start: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Filter sites (N, T, L) without smoothing.

    Arguments:
        chain: Without queries.
        w: Precisions, (N, T, L).
        eta: The same shape and dtype.
        start: As for :func:`walk`.

    Returns:
        The moments after the last site, (N, L, r), and spread and innovation as in a
        :class:`Walk`, (N, T, L).
    """
    moves = _prepare(chain)
    w_lanes, eta_lanes = (tensor.permute(1, 2, 0) for tensor in (w, eta))
    trace, moments = _filter(moves, w_lanes, eta_lanes, _starts(moves, w, start).permute(1, 2, 0))
    ahead = (_by_site(parts, w_lanes) for parts in (trace.variances, trace.innovations))
    spread, innovation = (rows.permute(2, 0, 1) for rows in ahead)
    return moments.permute(2, 0, 1).contiguous(), spread, innovation


def predict(chain: Chain, start: Tensor) -> tuple[Tensor, Tensor]:
    """Move moments along a chain without sites; mean and variance (N, Q, L) at its queries.

    Arguments:
        chain: Without sites.
        start: The moments of each series before the first step, (N, L, r).
    """
    moves = _prepare(chain)
    moments = start.permute(1, 2, 0)  # as in a walk: series last
    steps = []
    for step in range(len(chain.steps)):
        if chain.moves[step]:
            moments = torch.baddbmm(moves.noise[step], moves.forward[step], moments)
        steps.append(torch.stack([moments[:, 0], moments[:, moves.states]]))
    if not steps:
        return start.new_empty(len(start), 0, start.shape[1]), start.new_empty(
            len(start), 0, start.shape[1]
        )
    order = torch.argsort(chain.queries)
    mean, var = torch.stack(steps)[order].permute(1, 3, 0, 2).unbind(0)
    return mean, var


def _starts(moves: _Moves, w: Tensor, start: Tensor | None) -> Tensor:
    return moves.start[..., 0].expand(len(w), -1, -1) if start is None else start


@dataclass(frozen=True)
class _Moves:
    """A chain as maps of moments, unbound along the steps."""

    chain: Chain
    states: int
    """n."""

    start: Tensor
    """The moments before the first step, (L, r, 1)."""

    forward: tuple[Tensor, ...]
    """How moments move to each step from the one before, (L, r, r)."""

    noise: tuple[Tensor, ...]
    """What they gain on the way, (L, r, 1)."""

    backward: tuple[Tensor, ...]
    """How the adjoints at each step move to the one before, (L, r, r)."""

    full: Tensor
    """Where each element of a covariance is among the different ones, (n * n,)."""

    rows: Tensor
    """The row of each different element outside the first row and column."""

    columns: Tensor
    """The column of the same."""


def _prepare(chain: Chain) -> _Moves:
    (steps, latents, n), device = chain.a.shape[:3], chain.a.device
    places = pairs(n)
    size = steps * latents * (n + len(places)) ** 2
    if size > MAPS:
        raise ValueError(
            f"{n} states at {steps} dates of {latents} latents need matrices of {size:,} numbers, "
            f"more than {MAPS:,}: take a kernel of fewer states (fewer harmonics, fewer parts), "
            "fewer neighbours or a shorter calendar."
        )
    at = {pair: place for place, pair in enumerate(places)}
    rows, columns = torch.tensor(places, device=device).unbind(-1)
    full = [at[min(i, j), max(i, j)] for i in range(n) for j in range(n)]
    return _Moves(
        chain=chain,
        states=n,
        start=pad(chain.start, (n, 0))[..., None],
        forward=_moment_map(chain.a, rows, columns).unbind(0),
        noise=pad(chain.q, (n, 0))[..., None].unbind(0),
        backward=_moment_map(chain.a.mT, rows, columns).unbind(0),
        full=torch.tensor(full, device=device),
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


@dataclass(frozen=True)
class _Measured:
    """One measurement of the filtered state."""

    column: Tensor
    """Covariance of the measurement with the state, (L, n, N)."""

    mean: Tensor
    """(L, 1, N)."""

    var: Tensor
    """(L, 1, N)."""


@dataclass(frozen=True)
class _Trace:
    """What the filter leaves behind. Lists have one entry a site, unless they say otherwise."""

    measured: list[list[_Measured]] = field(default_factory=list)
    """For each step, one at a site, J at a query."""

    gains: list[Tensor] = field(default_factory=list)
    """g, (L, 1, N)."""

    pushes: list[Tensor] = field(default_factory=list)
    """g r, (L, 1, N)."""

    variances: list[Tensor] = field(default_factory=list)
    """s, (L, 1, N)."""

    innovations: list[Tensor] = field(default_factory=list)
    """r, (L, 1, N)."""


def _filter(moves: _Moves, w: Tensor, eta: Tensor, start: Tensor) -> tuple[_Trace, Tensor]:
    """Walk the chain forward with the sites of a tile, (T, L, N); return the last moments too."""
    n = moves.states
    trace = _Trace()
    w_at, eta_at = w.unsqueeze(2).unbind(0), eta.unsqueeze(2).unbind(0)
    moments = start
    queries = 0
    for step, site in enumerate(moves.chain.steps):
        if moves.chain.moves[step]:
            moments = torch.baddbmm(moves.noise[step], moves.forward[step], moments)
        if site < 0:
            trace.measured.append(_measure(moves, moments, queries))
            queries += 1
            continue
        mean, column, rest = moments.split([n, n, moments.shape[1] - 2 * n], dim=1)
        var = column[:, :1]
        gain = torch.addcmul(w.new_ones(()), w_at[site], var).reciprocal()
        innovation = torch.addcmul(eta_at[site], w_at[site], mean[:, :1], value=-1.0)
        push = gain * innovation
        mean = torch.addcmul(mean, column, push)
        seen = gain * column
        if n > 1:
            taken = w_at[site] * seen
            rest = torch.addcmul(rest, taken[:, moves.rows], column[:, moves.columns], value=-1.0)
        moments = torch.cat([mean, seen, rest], dim=1)
        trace.measured.append([_Measured(seen, mean[:, :1], seen[:, :1])])
        trace.gains.append(gain)
        trace.pushes.append(push)
        trace.variances.append(var)
        trace.innovations.append(innovation)
    return trace, moments


def _measure(moves: _Moves, moments: Tensor, query: int) -> list[_Measured]:
    n = moves.states
    if moves.chain.measures is None:
        return [_Measured(moments[:, n : 2 * n], moments[:, :1], moments[:, n : n + 1])]
    mean = moments[:, :n]
    cov = moments[:, n:][:, moves.full].unflatten(1, (n, n))
    measured = []
    for measure in moves.chain.measures[query]:
        column = (cov * measure[:, None]).sum(2)
        measured.append(
            _Measured(
                column,
                (measure * mean).sum(1, keepdim=True),
                (measure * column).sum(1, keepdim=True),
            )
        )
    return measured


def _smooth(moves: _Moves, trace: _Trace, w: Tensor, *, sites: bool) -> tuple[Tensor, Tensor]:
    """Walk the chain backward.

    Returns:
        Mean and variance stacked: on the days of the sites, (2, T, L, N), if wanted, and at
        the queries, (2, J, Q, L, N).
    """
    n = moves.states
    w_at = w.unsqueeze(2).unbind(0)
    adjoint = torch.zeros_like(moves.start).expand(-1, -1, w.shape[-1])
    at_sites: list[Tensor] = []
    at_queries: list[list[Tensor]] = []
    for step in reversed(range(len(moves.chain.steps))):
        site = moves.chain.steps[step]
        pull, rest = adjoint[:, :n], adjoint[:, 2 * n :]
        cov = adjoint[:, n:][:, moves.full].unflatten(1, (n, n))
        if site < 0:
            at_queries.append([_smoothed(part, pull, cov) for part in trace.measured[step]])
        else:
            here = trace.measured[step][0]
            if sites:
                at_sites.append(_smoothed(here, pull, cov))
            gain, push = trace.gains[site], trace.pushes[site]
            clear = torch.cat([gain, -w_at[site] * here.column[:, 1:]], dim=1)
            held = (cov * clear[:, None]).sum(2)
            adjoint = torch.cat(
                [
                    (clear * pull).sum(1, keepdim=True) - push,
                    pull[:, 1:],
                    torch.addcmul((clear * held).sum(1, keepdim=True), w_at[site], gain),
                    held[:, 1:],
                    rest,
                ],
                dim=1,
            )
        if step and moves.chain.moves[step]:
            adjoint = torch.bmm(moves.backward[step], adjoint)
    place = torch.argsort(moves.chain.queries)
    empty = w.new_empty(2, 0, *w.shape[1:])
    if at_queries:
        by_measure = zip(*at_queries, strict=True)
        measured = torch.stack([_stack(part[::-1], empty)[:, place] for part in by_measure])
    else:
        count = 1 if moves.chain.measures is None else moves.chain.measures.shape[1]
        measured = empty.expand(count, *empty.shape)
    return _stack(at_sites[::-1], empty), measured.transpose(0, 1)


def _smoothed(filtered: _Measured, pull: Tensor, cov: Tensor) -> Tensor:
    """Return the smoothed mean and variance of a measurement, (L, 2, N)."""
    column = filtered.column
    drop = (column * (cov * column[:, None]).sum(2)).sum(1, keepdim=True)
    return torch.cat(
        [filtered.mean - (column * pull).sum(1, keepdim=True), filtered.var - drop], dim=1
    )


def _stack(steps: Sequence[Tensor], empty: Tensor) -> Tensor:
    """Stack (L, 2, N) of each step to (2, steps, L, N)."""
    return torch.stack(list(steps)).permute(2, 0, 1, 3) if steps else empty


def _by_site(sites: Sequence[Tensor], like: Tensor) -> Tensor:
    """Stack (L, 1, N) of each site to (T, L, N), the shape of ``like``."""
    return torch.cat(list(sites), dim=1).transpose(0, 1) if sites else torch.zeros_like(like)
