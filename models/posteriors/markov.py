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
of no precision. It keeps the prior. Time :math:`O(N L (T + Q) n^3)` for n states, memory
:math:`O(N L (T + Q))`.

References:
    | Kalman filtering and smoothing solutions to temporal Gaussian process
    | regression models (Hartikainen & Särkkä, 2010)
    | Factorization Methods for Discrete Sequential Estimation, chapter X (Bierman, 1977)
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.contract import Inference, Posterior, check_sites
from terralatent.models.posteriors.kalman.chain import Covaried, link
from terralatent.models.posteriors.kalman.dispatch import covary_chain, smooth_chain, walk_chain


@dataclass(frozen=True)
class Markov(Inference):
    """Filter and smoother; see :class:`~terralatent.models.posteriors.contract.Inference`."""

    keeps_prior: ClassVar[bool] = True
    calendar_free: ClassVar[bool] = True
    cost: ClassVar[str] = "T n^3, n states"

    def infer(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
    ) -> Posterior:
        dtype = w.dtype
        w, eta, queries = _sites(kernel, days, w, eta, query_days)
        smoothed = smooth_chain(link(kernel, days, queries, w), w, eta)
        return Posterior(*(part.to(dtype) for part in smoothed))

    def marginals(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        dtype = w.dtype
        w, eta, queries = _sites(kernel, days, w, eta, query_days)
        at_sites = query_days is None
        walk = walk_chain(link(kernel, days, queries, w), w, eta, sites=at_sites, predicted=False)
        if at_sites:
            return walk.mean.to(dtype), walk.var.to(dtype)
        return walk.query_mean[..., 0].to(dtype), walk.query_var[..., 0].to(dtype)

    def components(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        dtype = w.dtype
        w, eta, queries = _sites(kernel, days, w, eta, query_days)
        parts = tuple(part.states for part in kernel.parts)
        walk = walk_chain(
            link(kernel, days, queries, w, parts), w, eta, sites=False, predicted=False
        )
        return walk.query_mean.to(dtype), walk.query_var.to(dtype)

    def joint(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""Return mean (N, Q, L) and covariance (N, L, Q, Q) over a few query days.

        What the filter predicts of a query, :math:`p`, passes to the queries after it as errors do,
        and what is seen from there on leaves :math:`e_0 - \Lambda p` of it. Nothing is subtracted
        from the prior, so float32 is enough. On a CPU it costs twice the means without gradients;
        elsewhere, and where a gradient is wanted, see :meth:`Inference.joint`.
        """
        found = _covaried(kernel, days, w, eta, query_days)
        if found is None:
            return super().joint(kernel, days, w, eta, query_days)
        return found.mean.to(w.dtype), found.covariance.to(w.dtype)

    def functionals(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor,
        weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        found = _covaried(kernel, days, w, eta, query_days)
        if found is None:
            return super().functionals(kernel, days, w, eta, query_days, weights)
        mean, variance = found.functionals(weights)
        return mean.to(w.dtype), variance.to(w.dtype)

    def log_evidence(self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor) -> Tensor:
        dtype = w.dtype
        w, eta, queries = _sites(kernel, days, w, eta, None)
        walk = walk_chain(link(kernel, days, queries, w), w, eta, sites=False, predicted=True)
        return log_densities(w, walk.spread, walk.innovation).sum(1).to(dtype)

    def means(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, etas: Tensor, queries: Tensor
    ) -> Tensor:
        chain = link(kernel, days, queries, w)
        many = w.expand_as(etas).flatten(0, 1)
        walk = walk_chain(chain, many, etas.flatten(0, 1), sites=False, predicted=False)
        means: Tensor = walk.query_mean[..., 0].unflatten(0, (len(etas), len(w)))
        return means


def _sites(
    kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Check the sites; return them in the precision that the kernel needs, and the query days."""
    queries = check_sites(kernel, days, w, eta, query_days)
    return (w.double(), eta.double(), queries) if kernel.needs_double else (w, eta, queries)


def _covaried(
    kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
) -> Covaried | None:
    """Means and covariances at query days; None where nothing is compiled for that."""
    if torch.is_grad_enabled() and (w.requires_grad or eta.requires_grad):
        return None
    w, eta, queries = _sites(kernel, days, w, eta, query_days)
    return covary_chain(link(kernel, days, queries, w), w, eta)


def log_densities(w: Tensor, spread: Tensor, innovation: Tensor) -> Tensor:
    r"""Return :math:`\log N(y_t; m_0, s + 1 / w)` of each site given those before it, (N, T, L).

    Arguments:
        w: Precisions, (N, T, L); a site without any has density 0.
        spread: s, as in a :class:`~terralatent.models.posteriors.kalman.chain.Walk`.
        innovation: :math:`r = \eta - w m_0`, the same.
    """
    seen = w > 0
    safe = w.where(seen, 1.0)
    scale = w * spread
    misfit = innovation.square() / (safe * (1.0 + scale))
    density = 0.5 * (safe.log() - math.log(2.0 * math.pi) - torch.log1p(scale) - misfit)
    return density.where(seen, 0.0)
