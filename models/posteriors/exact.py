r"""The posterior by dense algebra: exact, :math:`O(V^3)`; the reference for the others.

With :math:`S = W^{1/2}` and :math:`B = I + S K S = C C^T`, which is well-conditioned however small
or large the precisions, and :math:`t = S y`,

.. math::
    m_* = K_* \alpha, \quad \alpha = S B^{-1} t = \eta - W m, \quad
    v_* = k_{**} - \| C^{-1} S K_*^T \|^2

.. math:: KL[q \| p] = \tfrac{1}{2} \big( \log|B| - \sum_t w_t v_t
    + \sum_t m_t \alpha_t \big)

It keeps the prior. Each series is packed to its V valid dates (as many as the fullest series of a
batch has). Time :math:`O(N L V^2 (V + T + Q))`, memory :math:`O(N L V (V + T + Q))`, of a tile of
the series where nothing takes gradients. The algebra is in float64 whatever the sites are: beside
precisions of 1e4 a Cholesky factor in float32 is wrong by a few thousandths.

References:
    | Gaussian Processes for Machine Learning, section 3.4.3 (Rasmussen & Williams, 2006)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.contract import Inference, Posterior, checked_sites
from terralatent.models.posteriors.tiles import by_tiles


@dataclass(frozen=True)
class Exact(Inference):
    """Dense conditioning; see :class:`~terralatent.models.posteriors.contract.Inference`."""

    keeps_prior: ClassVar[bool] = True
    calendar_free: ClassVar[bool] = True
    cost: ClassVar[str] = "V^3"

    def infer(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
    ) -> Posterior:
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        between = self.prior(kernel, days, queries)

        def work(w: Tensor, eta: Tensor) -> tuple[Tensor, ...]:
            dense = _condition(between, w, eta)
            mean, var = dense.predict(between[:, :, : len(days)], 1.0)
            at, ahead = mean[:, : len(days)], mean[:, len(days) :]
            at_var, ahead_var = var[:, : len(days)], var[:, len(days) :]
            return at, at_var, ahead, ahead_var, dense.divergence(at, at_var)

        parts = by_tiles(work, _room(w, len(queries)), w.double(), eta.double())
        return Posterior(*(part.to(w) for part in parts))

    def marginals(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        wanted = days if query_days is None else query_days
        w, eta, queries = checked_sites(kernel, days, w, eta, wanted)
        between = self.prior(kernel, days, queries)

        def work(w: Tensor, eta: Tensor) -> tuple[Tensor, ...]:
            return _condition(between, w, eta).predict(between[:, len(days) :, : len(days)], 1.0)

        mean, var = by_tiles(work, _room(w, len(queries)), w.double(), eta.double())
        return mean.to(w), var.to(w)

    def components(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        between = self.prior(kernel, days, queries)
        # Parts are independent: the covariance of one with the sum is its own.
        crosses = kernel.part_covariance(queries[:, None] - days).permute(3, 2, 0, 1)
        owns = kernel.part_covariance(queries.new_zeros(1))[0].T

        def work(w: Tensor, eta: Tensor) -> tuple[Tensor, ...]:
            dense = _condition(between, w, eta)
            parts = [dense.predict(*prior) for prior in zip(crosses, owns, strict=True)]
            mean, var = zip(*parts, strict=True)
            return torch.stack(mean, dim=-1), torch.stack(var, dim=-1)

        mean, var = by_tiles(work, _room(w, len(queries)), w.double(), eta.double())
        return mean.to(w), var.to(w)

    def means(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, etas: Tensor, queries: Tensor
    ) -> Tensor:
        between = self.prior(kernel, days, queries)
        cross = between[:, len(days) :, : len(days)]

        def work(w: Tensor, etas: Tensor) -> tuple[Tensor]:
            dense = _condition(between, w, etas[:, 0])
            return (torch.stack([dense.mean(cross, eta) for eta in etas.unbind(1)], dim=1),)

        room = _room(w, len(queries))
        (mean,) = by_tiles(work, room, w.double(), etas.double().transpose(0, 1))
        return mean.transpose(0, 1)


@dataclass(frozen=True)
class _Dense:
    """Conditioned series: N series of L latents at V sites each, float64."""

    sites: Tensor
    """The dates of the series, (N, V), int64; a series with fewer has some without precision."""

    root: Tensor
    """S, (N, L, V)."""

    factor: Tensor
    """C, (N, L, V, V)."""

    eta: Tensor
    """(N, L, V)."""

    def divergence(self, mean: Tensor, var: Tensor) -> Tensor:
        """Return the KL, (N, L), given the marginals on all dates, (N, T, L)."""
        log_det = 2.0 * self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        pull = _pick(mean, self.sites) * self._alpha(self.eta)
        return 0.5 * (log_det + (pull - self.root.square() * _pick(var, self.sites)).sum(-1))

    def predict(self, cross: Tensor, own: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return mean and variance, (N, Q, L), for prior covariances (L, Q, T) and own (L,)."""
        white = torch.linalg.solve_triangular(
            self.factor, (self._pack(cross) * self.root[..., None, :]).mT, upper=False
        )
        drop = white.square().sum(-2).transpose(1, 2)
        return self.mean(cross), own - drop

    def mean(self, cross: Tensor, eta: Tensor | None = None) -> Tensor:
        """Return the mean, (N, Q, L), of these etas (N, T, L), or of those conditioned on."""
        alpha = self._alpha(self.eta if eta is None else _pick(eta, self.sites))
        return (self._pack(cross) @ alpha[..., None]).squeeze(-1).transpose(1, 2)

    def _alpha(self, eta: Tensor) -> Tensor:
        seen = self.root > 0
        target = (eta / self.root.where(seen, 1.0)).where(seen, 0.0)
        return self.root * torch.cholesky_solve(target[..., None], self.factor)[..., 0]

    def _pack(self, cross: Tensor) -> Tensor:
        """Return (L, Q, T) at the sites of each series, (N, L, Q, V)."""
        return cross[:, :, self.sites].permute(2, 0, 1, 3)


def _condition(between: Tensor, w: Tensor, eta: Tensor) -> _Dense:
    """Condition sites (N, T, L) under the prior covariances ``between`` of dates, T or more."""
    seen = (w > 0).any(-1)
    most = int(seen.sum(1).max()) if seen.numel() else 0
    sites = torch.argsort((~seen).int(), dim=1, stable=True)[:, :most]
    packed = _pick(w, sites)
    some = packed > 0
    root = packed.where(some, 1.0).sqrt().where(some, 0.0)  # the root of 0 has no gradient
    prior = between[:, sites[:, :, None], sites[:, None, :]].transpose(0, 1)
    eye = torch.eye(most, dtype=w.dtype, device=w.device)
    factor = torch.linalg.cholesky(eye + root[..., None] * prior * root[..., None, :])
    return _Dense(sites, root, factor, _pick(eta, sites))


def _pick(values: Tensor, sites: Tensor) -> Tensor:
    """Return (N, T, L) at the sites (N, V), as (N, L, V)."""
    index = sites[..., None].expand(-1, -1, values.shape[2])
    return values.gather(1, index).transpose(1, 2)


def _room(w: Tensor, queries: int) -> int:
    """Numbers that a series needs in the largest array."""
    dates = w.shape[1]
    return w.shape[2] * dates * (dates + queries)
