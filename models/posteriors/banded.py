r"""The posterior of the first GP-VAE for imputation: a bidiagonal factor of the precision.

At the V different days of a series that are not masked, in order,

.. math:: q(f) = N(\Lambda^{-1} \eta, \Lambda^{-1}), \quad
    \Lambda = \mathrm{diag}(w) + \tilde K^{-1}

where :math:`\tilde K^{-1}` is tridiagonal, hence so is :math:`\Lambda = B^T B` with B bidiagonal.
It holds a pair site between each day and the next one: a coupling :math:`\rho_i` in (-1, 1), with

.. math:: f_1 \sim N(0, 1), \quad f_{i+1} \mid f_i \sim N(\rho_i f_i, 1 - \rho_i^2)

which is any tridiagonal precision with unit variances. By default it is the kernel's own
correlation over the gap, which makes a Matérn-1/2 prior's q exact, and others' a bound; an encoder
may give others. No identity is added to the precision: it would halve the variance of a date that
nothing is known of.

Everywhere else the prior goes on from there, :math:`q(f_*) = \int p(f_* \mid f) q(f) df`. With
:math:`\Sigma = \Lambda^{-1}`, :math:`m = \Sigma \eta` and
:math:`K = A A^T` of the days of the series, :math:`X = A^{-1} K_{v*}` and :math:`G = X^T A^{-1}`,

.. math:: m_* = G m, \quad v_* = k_{**} - |X|^2 + G \Sigma G^T

.. math:: KL[q \| p] = \tfrac{1}{2} \big( \log|K| - \log|\Sigma| - V + \mathrm{tr}\, K^{-1} \Sigma
    + m^T K^{-1} m \big)

So it keeps the prior: an empty series is the prior, and its bound never exceeds the evidence. More
precision at a date of a series lowers all variances. A new date may raise them, as it has the pair
sites of its neighbours instead of theirs. A smooth prior is far from any first-order chain: where
dates are dense against its lengthscale the bound is loose by nats a date. Where days are a minute
apart, or the kernel is periodic, :math:`K^{-1}` reads slopes from q that are not there, and
variances elsewhere rise far above the prior's. Constant and periodic kernels alone are singular;
their KL is that of the white share which
:data:`~terralatent.models.posteriors.tridiagonal.WHITE` describes, and useless.

q on its own days takes :math:`O(V)` (:mod:`terralatent.models.posteriors.tridiagonal`), its KL and
all other days :math:`O(V^3)`: time :math:`O(N L V^2 (V + T + Q))`, memory
:math:`O(N L V (V + T + Q))`, of a tile of the series where nothing takes gradients. All is done in
float64.

References:
    | GP-VAE: Deep probabilistic time series imputation (Fortuin et al., 2020)
    | Structured black box variational inference for latent time series models
    | (Bamler & Mandt, 2017)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.contract import (
    DRAW_JITTER,
    Inference,
    Posterior,
    checked_sites,
    randn,
)
from terralatent.models.posteriors.tiles import by_tiles
from terralatent.models.posteriors.tridiagonal import Bidiagonal, Calendar


@dataclass(frozen=True)
class Banded(Inference):
    """Pair sites; see :class:`~terralatent.models.posteriors.contract.Inference`.

    All but ``means`` and ``log_evidence`` also take ``coupling``, (N, T, L): :math:`\\rho` from
    each date that is not masked to the next one of the same series and latent, above -1 and below
    1. What it holds elsewhere means nothing; of a repeated day it is that of the last. Those of the
    kernel if None.
    """

    keeps_prior: ClassVar[bool] = True
    calendar_free: ClassVar[bool] = True
    cost: ClassVar[str] = "V for q, V^3 for its KL and other days"

    def infer(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
        *,
        coupling: Tensor | None = None,
    ) -> Posterior:
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        calendar = Calendar.of(kernel, days, queries)

        def work(w: Tensor, eta: Tensor, *pairs: Tensor) -> tuple[Tensor, ...]:
            q = Bidiagonal.given(calendar, w, *pairs)
            own = q.means(calendar.merge(eta))
            given = q.conditional(calendar.between)
            mean, ahead = given.mean(own).split([calendar.days, len(queries)], dim=1)
            var, ahead_var = given.var(1.0).split([calendar.days, len(queries)], dim=1)
            at, at_var = q.lay(own, mean), q.lay(q.var, var)
            return at[:, calendar.node], at_var[:, calendar.node], ahead, ahead_var, q.kl(own)

        parts = by_tiles(work, _room(calendar), *_series(w, eta, coupling))
        return Posterior(*(part.to(w) for part in parts))

    def marginals(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
        *,
        coupling: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if query_days is None:
            whole = self.infer(kernel, days, w, eta, coupling=coupling)
            return whole.mean, whole.var
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        calendar = Calendar.of(kernel, days, queries)

        def work(w: Tensor, eta: Tensor, *pairs: Tensor) -> tuple[Tensor, ...]:
            q = Bidiagonal.given(calendar, w, *pairs)
            given = q.conditional(calendar.between[:, calendar.days :])
            return given.mean(q.means(calendar.merge(eta))), given.var(1.0)

        mean, var = by_tiles(work, _room(calendar), *_series(w, eta, coupling))
        return mean.to(w), var.to(w)

    def components(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor,
        *,
        coupling: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        calendar = Calendar.of(kernel, days, queries)
        # Parts are independent: the covariance of one with the sum is its own.
        crosses = kernel.part_covariance(queries[:, None] - calendar.nodes).permute(3, 2, 0, 1)
        owns = kernel.part_covariance(queries.new_zeros(1))[0].T

        def work(w: Tensor, eta: Tensor, *pairs: Tensor) -> tuple[Tensor, ...]:
            q = Bidiagonal.given(calendar, w, *pairs)
            own = q.means(calendar.merge(eta))
            parts = [q.conditional(cross) for cross in crosses]
            var = [part.var(prior) for part, prior in zip(parts, owns, strict=True)]
            return torch.stack([part.mean(own) for part in parts], -1), torch.stack(var, -1)

        mean, var = by_tiles(work, _room(calendar), *_series(w, eta, coupling))
        return mean.to(w), var.to(w)

    def joint(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor,
        *,
        coupling: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Return mean (N, Q, L) and covariance (N, L, Q, Q) over a few query days.

        :math:`K_{**} - X^T X + G \Sigma G^T`, in float64.
        """
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        calendar = Calendar.of(kernel, days, queries)
        own = kernel.covariance(queries[:, None] - queries).movedim(-1, 0)

        def work(w: Tensor, eta: Tensor, *pairs: Tensor) -> tuple[Tensor, ...]:
            q = Bidiagonal.given(calendar, w, *pairs)
            given = q.conditional(calendar.between[:, calendar.days :])
            return given.mean(q.means(calendar.merge(eta))), given.cov(own)

        mean, cov = by_tiles(work, _room(calendar), *_series(w, eta, coupling))
        return mean.to(w), (0.5 * (cov + cov.mT)).to(w)

    def sample(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor,
        count: int,
        generator: torch.Generator,
        *,
        coupling: Tensor | None = None,
    ) -> Tensor:
        """Draw joint samples on the query days, shape (count, N, Q, L); no gradients.

        Each series has a factor of its own, of its joint covariance: :math:`O(N L Q^3)`.
        """
        with torch.no_grad():
            w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
            exact = (w.double(), eta.double())
            mean, cov = self.joint(kernel, days, *exact, queries, coupling=coupling)
            eye = torch.eye(len(queries), dtype=cov.dtype, device=cov.device)
            factor = torch.linalg.cholesky(cov + DRAW_JITTER * eye)
            white = randn((count, *cov.shape[:3]), generator).to(cov)
            moved = (factor @ white[..., None])[..., 0].transpose(-1, -2)
            drawn: Tensor = mean + moved
            return drawn.to(w)

    def means(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, etas: Tensor, queries: Tensor
    ) -> Tensor:
        calendar = Calendar.of(kernel, days, queries)

        def work(w: Tensor, etas: Tensor) -> tuple[Tensor]:
            q = Bidiagonal.given(calendar, w)
            merged = calendar.merge(etas.flatten(0, 1)).unflatten(0, etas.shape[:2])
            given = q.conditional(calendar.between[:, calendar.days :])
            return (given.mean(q.means(merged.transpose(0, 1))).transpose(0, 1),)

        (mean,) = by_tiles(work, _room(calendar), w.double(), etas.double().transpose(0, 1))
        return mean.transpose(0, 1)


def _series(w: Tensor, eta: Tensor, coupling: Tensor | None) -> tuple[Tensor, ...]:
    """Return what changes by series, in float64.

    Raises:
        ValueError: If the couplings have another shape than the sites, or one that counts is not
            above -1 and below 1.
    """
    if coupling is None:
        return w.double(), eta.double()
    if coupling.shape != w.shape:
        raise ValueError(
            f"coupling must have the shape of w, {tuple(w.shape)}, got {tuple(coupling.shape)}; "
            "give one for each site, to the next."
        )
    bad = (w > 0) & ~(coupling.detach().abs() < 1.0)
    if bool(bad.any()):
        raise ValueError(
            "couplings must be above -1 and below 1, got "
            f"{float(coupling[bad][0])} at {bad.nonzero()[0].tolist()}; they are correlations, "
            "such as a tanh gives."
        )
    return w.double(), eta.double(), coupling.double()


def _room(calendar: Calendar) -> int:
    """Numbers that a series needs in the largest array."""
    latents, rows, days = calendar.between.shape
    return latents * rows * days
