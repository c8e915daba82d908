r"""The posterior by Kalman filter and smoother: exact for kernels with a state, :math:`O(T)`.

Forward, the state's filtered mean :math:`m` and covariance :math:`P`. A site with innovation
:math:`r = \eta - w m_0` and variance :math:`s = P_{00}` before it changes them by

.. math:: m \leftarrow m + p \, g r, \quad P \leftarrow P - w g \, p p^T, \quad
    g = 1 / (1 + w s), \quad p = P_{\cdot 0}

Backward, the adjoints :math:`\lambda, \Lambda` of the modified Bryson-Frazier smoother, which
inverts nothing: with :math:`\hat\lambda = A^T \lambda_{t+1}`,
:math:`\hat\Lambda = A^T \Lambda_{t+1} A` and :math:`a` the filtered :math:`P_{\cdot 0}`,

.. math:: E f = m_0 - a^T \hat\lambda, \quad V f = P_{00} - a^T \hat\Lambda a

.. math:: \lambda = C^T \hat\lambda - e_0 g r, \quad
    \Lambda = C^T \hat\Lambda C + e_0 e_0^T w g, \quad C = I - w a e_0^T

The state is rotated so that the series itself comes first, :math:`H = e_0^T`: a precise site then
shrinks what it sees by a factor, not by a difference, and float32 is enough. Queries are sites
of no precision. It keeps the prior. Time and memory :math:`O(N L T n^2)` for n states; without
gradients, memory of a tile of series at a time.

References:
    | Kalman filtering and smoothing solutions to temporal Gaussian process
    | regression models (Hartikainen & Särkkä, 2010)
    | Factorization Methods for Discrete Sequential Estimation, chapter X (Bierman, 1977)
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.chain import Chain, link
from terralatent.models.posteriors.contract import Posterior, checked_sites

TILE = 8192
"""Series times latents in one tile without gradients: what passes between steps stays cached."""


def infer(
    kernel: TemporalKernel,
    days: Tensor,
    w: Tensor,
    eta: Tensor,
    query_days: Tensor | None = None,
) -> Posterior:
    """Return the posterior; see :class:`~terralatent.models.posteriors.contract.Inference`."""
    w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
    chain = link(kernel, days, queries, w)
    tiles = []
    for w_tile, eta_tile in _tiles(w, eta):
        trace = _filter(chain, w_tile, eta_tile)
        at_sites, at_queries = _smooth(chain, trace, w_tile, sites=True)
        mean, var = at_sites.unbind(0)
        query_mean, query_var = at_queries[:, 0].unbind(0)
        log_det = torch.log1p(w_tile * _by_site(trace.variances, w_tile)).sum(0)
        pull = mean * (eta_tile - w_tile * mean) - w_tile * var
        kl = 0.5 * (log_det + pull.sum(0))
        tiles.append((mean, var, query_mean, query_var, kl))
    return Posterior(*(_series_first(parts) for parts in zip(*tiles, strict=True)))


def marginals(
    kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and variance on the query days, both of shape (N, Q, L)."""
    mean, var = _measure(kernel, days, w, eta, query_days)
    return mean[..., 0], var[..., 0]


def components(
    kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each part of the kernel, both of shape (N, Q, L, parts)."""
    parts = tuple(part.states for part in kernel.parts)
    return _measure(kernel, days, w, eta, query_days, parts)


def log_evidence(kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor) -> Tensor:
    """Return the log-density of the pseudo-observations, shape (N, L)."""
    w, eta, queries = checked_sites(kernel, days, w, eta, None)
    chain = link(kernel, days, queries, w)
    return _series_first([_evidence(_filter(chain, *tile), tile[0]) for tile in _tiles(w, eta)])


def _measure(
    kernel: TemporalKernel,
    days: Tensor,
    w: Tensor,
    eta: Tensor,
    query_days: Tensor,
    parts: tuple[slice, ...] = (),
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the series or of J parts on query days, (N, Q, L, J)."""
    w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
    chain = link(kernel, days, queries, w, parts)
    tiles = []
    for w_tile, eta_tile in _tiles(w, eta):
        trace = _filter(chain, w_tile, eta_tile)
        tiles.append(_smooth(chain, trace, w_tile, sites=False)[1].movedim(1, -1))
    mean, var = torch.cat(tiles, dim=3).movedim(3, 1).unbind(0)
    return mean, var


@dataclass(frozen=True)
class _Look:
    """The filtered state as one measurement of it sees it."""

    column: Tensor
    """Covariance of the measurement with the state, (L, n, N)."""

    mean: Tensor
    """(L, 1, N)."""

    var: Tensor
    """(L, 1, N)."""


@dataclass(frozen=True)
class _Trace:
    """What the filter leaves behind. Lists have one entry a site, unless they say otherwise."""

    looks: list[list[_Look]] = field(default_factory=list)
    """For each visit, one at a site, J at a query."""

    gains: list[Tensor] = field(default_factory=list)
    """g, (L, 1, N)."""

    pushes: list[Tensor] = field(default_factory=list)
    """g r, (L, 1, N)."""

    variances: list[Tensor] = field(default_factory=list)
    """s, (L, 1, N)."""

    innovations: list[Tensor] = field(default_factory=list)
    """r, (L, 1, N)."""


def _filter(chain: Chain, w: Tensor, eta: Tensor) -> _Trace:
    """Walk the chain forward with the sites of a tile, (T, L, N)."""
    n = chain.states
    trace = _Trace()
    w_at, eta_at = w.unsqueeze(2).unbind(0), eta.unsqueeze(2).unbind(0)
    moments = chain.start.expand(-1, -1, w.shape[-1])
    for visit, site in enumerate(chain.visits):
        if chain.moves[visit]:
            moments = torch.baddbmm(chain.noise[visit], chain.forward[visit], moments)
        if site < 0:
            trace.looks.append(_looks(chain, moments))
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
            rest = torch.addcmul(rest, taken[:, chain.rows], column[:, chain.columns], value=-1.0)
        moments = torch.cat([mean, seen, rest], dim=1)
        trace.looks.append([_Look(seen, mean[:, :1], seen[:, :1])])
        trace.gains.append(gain)
        trace.pushes.append(push)
        trace.variances.append(var)
        trace.innovations.append(innovation)
    return trace


def _looks(chain: Chain, moments: Tensor) -> list[_Look]:
    n = chain.states
    if chain.measures is None:
        return [_Look(moments[:, n : 2 * n], moments[:, :1], moments[:, n : n + 1])]
    mean = moments[:, :n]
    cov = moments[:, n:][:, chain.full].unflatten(1, (n, n))
    looks = []
    for measure in chain.measures:
        column = (cov * measure[:, None]).sum(2)
        looks.append(
            _Look(
                column,
                (measure * mean).sum(1, keepdim=True),
                (measure * column).sum(1, keepdim=True),
            )
        )
    return looks


def _smooth(chain: Chain, trace: _Trace, w: Tensor, *, sites: bool) -> tuple[Tensor, Tensor]:
    """Walk the chain backward.

    Returns:
        Mean and variance stacked: on the days of the sites, (2, T, L, N), if asked for, and at
        the queries, (2, J, Q, L, N).
    """
    n = chain.states
    w_at = w.unsqueeze(2).unbind(0)
    adjoint = torch.zeros_like(chain.start).expand(-1, -1, w.shape[-1])
    at_sites: list[Tensor] = []
    at_queries: list[list[Tensor]] = []
    for visit in reversed(range(len(chain.visits))):
        site = chain.visits[visit]
        pull, rest = adjoint[:, :n], adjoint[:, 2 * n :]
        cov = adjoint[:, n:][:, chain.full].unflatten(1, (n, n))
        if site < 0:
            at_queries.append([_look_back(look, pull, cov) for look in trace.looks[visit]])
        else:
            look = trace.looks[visit][0]
            if sites:
                at_sites.append(_look_back(look, pull, cov))
            gain, push = trace.gains[site], trace.pushes[site]
            clear = torch.cat([gain, -w_at[site] * look.column[:, 1:]], dim=1)
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
        if visit and chain.moves[visit]:
            adjoint = torch.bmm(chain.backward[visit], adjoint)
    place = torch.argsort(chain.asked)
    empty = w.new_empty(2, 0, *w.shape[1:])
    measured = (
        torch.stack([_stack(each[::-1], empty)[:, place] for each in zip(*at_queries, strict=True)])
        if at_queries
        else empty[None]
    )
    return _stack(at_sites[::-1], empty), measured.transpose(0, 1)


def _look_back(look: _Look, pull: Tensor, cov: Tensor) -> Tensor:
    """Return the smoothed mean and variance of a measurement, (L, 2, N)."""
    column = look.column
    drop = (column * (cov * column[:, None]).sum(2)).sum(1, keepdim=True)
    return torch.cat([look.mean - (column * pull).sum(1, keepdim=True), look.var - drop], dim=1)


def _stack(visits: Sequence[Tensor], empty: Tensor) -> Tensor:
    """Stack (L, 2, N) of each visit to (2, visits, L, N)."""
    return torch.stack(list(visits)).permute(2, 0, 1, 3) if visits else empty


def _evidence(trace: _Trace, w: Tensor) -> Tensor:
    """Return the log-density of the pseudo-observations, (L, N)."""
    seen = w > 0
    safe = w.where(seen, 1.0)
    spread = torch.log1p(w * _by_site(trace.variances, w))
    misfit = _by_site(trace.pushes, w) * _by_site(trace.innovations, w) / safe
    density = 0.5 * (safe.log() - math.log(2.0 * math.pi) - spread - misfit)
    return density.where(seen, 0.0).sum(0)


def _by_site(sites: Sequence[Tensor], like: Tensor) -> Tensor:
    """Stack (L, 1, N) of each site to (T, L, N), the shape of ``like``."""
    return torch.cat(list(sites), dim=1).transpose(0, 1) if sites else torch.zeros_like(like)


def _tiles(w: Tensor, eta: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Cut (N, T, L) into tiles of series, each (T, L, series); one tile under autograd."""
    size = w.shape[0]
    if not torch.is_grad_enabled():
        size = max(1, TILE // w.shape[2])
    for start in range(0, max(1, w.shape[0]), max(1, size)):
        yield (
            w[start : start + size].permute(1, 2, 0).contiguous(),
            eta[start : start + size].permute(1, 2, 0).contiguous(),
        )


def _series_first(tiles: Sequence[Tensor]) -> Tensor:
    """Join tiles (..., L, series) along the series and put these first, the latents last."""
    joined = torch.cat(list(tiles), dim=-1)
    return joined.movedim(-1, 0)
