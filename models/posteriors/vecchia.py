r"""The posterior under a nearest-neighbour prior: exact conditioning on a simpler process.

The prior is Vecchia's over the different days of the calendar in order of time: each depends on
the m days before it only, as the kernel says it does on these,

.. math:: \tilde p(f) = \prod_i p(f_i \mid f_{i-1}, \dots, f_{i-m})

so every m + 1 days in a row have the kernel's own covariance. A query depends on the m days in a
row around it, half of them before it (at the ends the first or last m), and on nothing else:
queries change neither what the sites see nor each other. The conditioning is exact; with m from the
number of days on, so is all of it. It does not keep the prior: that depends on the calendar, and so
does the evidence, which must not be compared with that of other forms. Days close together use up
the neighbours of those that follow: 2 neighbours a minute apart tell little of next month.

The m last values are a Markov state, :class:`Windows`, which the filter and smoother of
:mod:`terralatent.models.posteriors.markov` walk. A query is a visit directly after
the last day of its window; what it does not share with that is added to its variance.

Time :math:`O(N L (T + Q) m^4)`, as the eager walk moves all :math:`r = m (m + 3) / 2` moments of a
state by one matrix; :math:`O(N L T m^3)` where the compiled one can be used (no queries, m up to
5). Memory :math:`O(N L (T + Q) m^2 + L (T + Q) r^2)`, the second for a calendar.

References:
    | Estimation and model identification for continuous spatial processes (Vecchia, 1988)
    | Hierarchical nearest-neighbor Gaussian process models for large geostatistical datasets
    | (Datta et al., 2016)
    | A general framework for Vecchia approximations of Gaussian processes
    | (Katzfuss & Guinness, 2021)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.contract import Inference, Posterior, checked_sites
from terralatent.models.posteriors.kalman.chain import Chain, pairs
from terralatent.models.posteriors.kalman.dispatch import smooth_chain, walk_chain
from terralatent.models.posteriors.markov import log_densities

WHITE = 1e-10
"""Share of the prior's variance that belongs to one day alone. Without it windows of a constant
kernel, or with days a minute apart, are singular. With 1e-12 means of smooth kernels lose 2e-5 to
rounding beside precisions of 1e4; with this, 2e-6 at most, to the share itself."""


@dataclass(frozen=True)
class Vecchia(Inference):
    """Nearest neighbours; see :class:`~terralatent.models.posteriors.contract.Inference`.

    Raises ``ValueError`` where calendar and neighbours together need too much memory.
    """

    keeps_prior: ClassVar[bool] = False
    calendar_free: ClassVar[bool] = False
    cost: ClassVar[str] = "T m^4, m neighbours"

    neighbours: int = 4
    """On how many days before it a day depends, at least 1."""

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"A day needs at least one neighbour, got {self.neighbours}.")

    def infer(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
    ) -> Posterior:
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        chain, rest = self._link(kernel, days, queries, w)
        smoothed = smooth_chain(chain, w, eta)
        query_var = smoothed.query_var + rest[..., 0]
        return Posterior(*smoothed._replace(query_var=query_var))

    def marginals(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        at_sites = query_days is None
        chain, rest = self._link(kernel, days, queries, w)
        walk = walk_chain(chain, w, eta, sites=at_sites, predicted=False)
        if at_sites:
            return walk.mean, walk.var
        return walk.query_mean[..., 0], (walk.query_var + rest)[..., 0]

    def components(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        chain, rest = self._link(kernel, days, queries, w, parts=True)
        walk = walk_chain(chain, w, eta, sites=False, predicted=False)
        return walk.query_mean, walk.query_var + rest

    def log_evidence(self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor) -> Tensor:
        w, eta, queries = checked_sites(kernel, days, w, eta, None)
        chain, _ = self._link(kernel, days, queries, w)
        walk = walk_chain(chain, w, eta, sites=False, predicted=True)
        return log_densities(w, walk.spread, walk.innovation).sum(1)

    def means(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, etas: Tensor, queries: Tensor
    ) -> Tensor:
        chain, _ = self._link(kernel, days, queries, w)
        many = w.expand_as(etas).flatten(0, 1)
        walk = walk_chain(chain, many, etas.flatten(0, 1), sites=False, predicted=False)
        means: Tensor = walk.query_mean[..., 0].unflatten(0, (len(etas), len(w)))
        return means

    def prior(self, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> Tensor:
        chain, rest = self._link(kernel, days, queries, days)
        count, latents, n = chain.a.shape[:3]
        sees = chain.a.new_zeros(count, latents, n, 1)
        sees[:, :, 0] = 1.0
        order = torch.tensor(chain.visits, dtype=torch.long, device=days.device)
        order[order < 0] = chain.asked + len(days)
        if chain.measures is not None:
            sees = sees.index_copy(0, (order >= len(days)).nonzero()[:, 0], chain.measures[:, 0])
        known = sees.new_empty(latents, n, 0)  # covariance of the state with the visits so far
        rows = []
        for visit, seen in enumerate(sees):
            if chain.moves[visit]:
                known = chain.a[visit] @ known
            known = torch.cat([known, seen], dim=-1)
            row = (seen * known).sum(1)
            rows.append(pad(row, (0, count - visit - 1)))
        if not rows:
            return sees.new_empty(latents, 0, 0)
        lower = torch.stack(rows, dim=1)
        whole = lower + lower.tril(-1).mT
        place = torch.argsort(order)
        whole = whole[:, place[:, None], place]
        # What no site sees is the query's own; a day that is asked for twice has one value.
        same = queries[:, None] == queries
        own = (rest[None, :, :, 0] * same[..., None]).movedim(-1, 0)
        few = len(days)
        return whole + pad(own, (few, 0, few, 0))

    def _link(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        queries: Tensor,
        like: Tensor,
        parts: bool = False,
    ) -> tuple[Chain, Tensor]:
        """Return the chain of windows, and the variance that each query adds, (Q, L, J)."""
        nodes, node = torch.unique(days, return_inverse=True)
        if not len(nodes):
            nodes = days.new_zeros(1)  # a day that nobody saw
        n = min(self.neighbours, len(nodes))
        windows = Windows.over(kernel, nodes, n)
        first = torch.searchsorted(nodes, queries) - n // 2
        last = first.clamp(0, len(nodes) - n) + n - 1
        a, gain = windows.moves(kernel, nodes)

        at = torch.cat([node, last])
        order = torch.argsort(2 * at + (torch.arange(len(at)).to(at) >= len(days)), stable=True)
        at = at[order]
        moved = at.diff(prepend=at[:1]) > 0
        eye = torch.eye(n, dtype=days.dtype, device=days.device)
        rows, columns = torch.tensor(pairs(n), device=days.device).unbind(-1)
        a = a[at].where(moved[:, None, None, None], eye)
        noise = (gain[..., rows] * gain[..., columns])[at] * moved[:, None, None]
        start = eye[rows, columns].expand(kernel.latents, -1)
        asked = order[order >= len(days)] - len(days)
        seen = windows.look(kernel, last, queries, parts)
        own = covariance(kernel, queries.new_zeros(len(queries)), parts)
        rest = (own - seen.square().sum(-2).transpose(0, 1)).clamp_min(0.0)
        chain = Chain(
            a=a.to(like),
            q=noise.to(like),
            start=start.to(like),
            moves=tuple(moved.tolist()),
            visits=tuple(each if each < len(days) else -1 for each in order.tolist()),
            asked=asked,
            measures=seen.permute(1, 3, 0, 2)[asked, ..., None].to(like)
            if len(asked) or parts
            else None,
        )
        return chain, rest.to(like)


@dataclass(frozen=True)
class Windows:
    r"""Windows of days in a row, as a Markov state that moves over a calendar.

    A window is one of D days and the n - 1 before it, the newest first. It is whitened,
    :math:`f_W = C_i x_i` with :math:`K_{WW} = C_i C_i^T`, so that :math:`x \sim N(0, I)` and
    :math:`f_i` is its first state. The next day depends on nothing but the window, with
    :math:`\beta = C_i^{-1} k_W(t_{i+1})` and :math:`d = 1 - |\beta|^2`, so

    .. math:: x_{i+1} = C_{i+1}^{-1} \begin{pmatrix} \beta^T & \sqrt{d} \\ S C_i & 0 \end{pmatrix}
        \begin{pmatrix} x_i \\ \epsilon \end{pmatrix}
        = (A \;\; g) \begin{pmatrix} x_i \\ \epsilon \end{pmatrix}, \quad Q = g g^T, \quad
        A A^T + Q = I

    where S drops the oldest day. Nothing is divided by d, which a gap of a minute makes 1e-13, and
    no number is above 1: unlike the values themselves, whose regressions on two days a minute apart
    have coefficients of 1e4, this state is one for float32.
    """

    near: Tensor
    """Those days, (D, n)."""

    held: Tensor
    """Whether there are that many, (D, n)."""

    factor: Tensor
    """C, (L, D, n, n), float64; the places of days that are not there are independent."""

    @classmethod
    def over(cls, kernel: TemporalKernel, nodes: Tensor, n: int) -> "Windows":
        order = torch.arange(len(nodes), device=nodes.device)
        places = order[:, None] - order[:n]
        near, held = nodes[places.clamp_min(0)], places >= 0
        between = kernel.covariance(near[:, :, None] - near[:, None]).movedim(-1, 0)
        eye = torch.eye(n, dtype=near.dtype, device=near.device)
        both = (held[:, :, None] & held[:, None]) & (eye == 0)
        factor = torch.linalg.cholesky(eye.where(~both, (1.0 - WHITE) * between))
        return cls(near, held, factor)

    def look(self, kernel: TemporalKernel, last: Tensor, days: Tensor, parts: bool) -> Tensor:
        r"""Return :math:`\beta` of S days for the windows of the days ``last``, (L, S, n, J)."""
        cross = covariance(kernel, self.near[last] - days[:, None], parts)
        cross = ((1.0 - WHITE) * cross).where(self.held[last, :, None, None], 0.0)
        factor = self.factor[:, last]
        beta: Tensor = torch.linalg.solve_triangular(factor, cross.permute(2, 0, 1, 3), upper=False)
        return beta

    def moves(self, kernel: TemporalKernel, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return A (D, L, n, n) and g (D, L, n) to each day from the one before; 0 to the first."""
        order = torch.arange(len(nodes) - 1, device=nodes.device)
        beta = self.look(kernel, order, nodes[1:], parts=False).mT
        # The white share keeps d above itself; what is below is rounding.
        d = (1.0 - beta.square().sum(-1, keepdim=True)).clamp_min(WHITE)
        newest = torch.cat([beta, d.sqrt()], dim=-1)
        others = pad(self.factor[:, :-1, :-1], (0, 1))
        both = torch.cat([newest, others], dim=-2)
        both = torch.linalg.solve_triangular(self.factor[:, 1:], both, upper=False)
        # Days a minute apart cost digits; once more, the rows are orthonormal to the last one.
        again = torch.linalg.cholesky(both @ both.mT)
        both = torch.linalg.solve_triangular(again, both, upper=False)
        both = pad(both.transpose(0, 1), (0, 0, 0, 0, 0, 0, 1, 0))
        return both[..., :-1], both[..., -1]


def covariance(kernel: TemporalKernel, lag: Tensor, parts: bool) -> Tensor:
    """Return that of the series or of its parts, (*, L, J)."""
    return kernel.part_covariance(lag) if parts else kernel.covariance(lag)[..., None]
