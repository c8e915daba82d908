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

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors import recursion
from terralatent.models.posteriors.chain import Chain, Walk, link
from terralatent.models.posteriors.contract import Posterior, checked_sites

COMPILED_FROM = 200_000
"""Series times latents times visits from which the compiled recursion is used on the CPU.

It is several times as fast, but each process compiles it when it first needs it, for some seconds.
"""


def infer(
    kernel: TemporalKernel,
    days: Tensor,
    w: Tensor,
    eta: Tensor,
    query_days: Tensor | None = None,
) -> Posterior:
    """Return the posterior; see :class:`~terralatent.models.posteriors.contract.Inference`."""
    w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
    walk = _walk(link(kernel, days, queries, w), w, eta, sites=True, predicted=True)
    pull = walk.mean * (eta - w * walk.mean) - w * walk.var
    kl = 0.5 * (torch.log1p(w * walk.spread) + pull).sum(1)
    return Posterior(walk.mean, walk.var, walk.query_mean[..., 0], walk.query_var[..., 0], kl)


def marginals(
    kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and variance on the query days, both of shape (N, Q, L)."""
    w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
    walk = _walk(link(kernel, days, queries, w), w, eta, sites=False, predicted=False)
    return walk.query_mean[..., 0], walk.query_var[..., 0]


def components(
    kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each part of the kernel, both of shape (N, Q, L, parts)."""
    w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
    parts = tuple(part.states for part in kernel.parts)
    walk = _walk(link(kernel, days, queries, w, parts), w, eta, sites=False, predicted=False)
    return walk.query_mean, walk.query_var


def log_evidence(kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor) -> Tensor:
    """Return the log-density of the pseudo-observations, shape (N, L)."""
    w, eta, queries = checked_sites(kernel, days, w, eta, None)
    walk = _walk(link(kernel, days, queries, w), w, eta, sites=False, predicted=True)
    seen = w > 0
    safe = w.where(seen, 1.0)
    scale = w * walk.spread
    misfit = walk.innovation.square() / (safe * (1.0 + scale))
    density = 0.5 * (safe.log() - math.log(2.0 * math.pi) - torch.log1p(scale) - misfit)
    return density.where(seen, 0.0).sum(1)


def _walk(chain: Chain, w: Tensor, eta: Tensor, *, sites: bool, predicted: bool) -> Walk:
    """Walk the chain in the way that suits the device and the amount of work."""
    enough = w.shape[0] * w.shape[2] * len(chain.visits) >= COMPILED_FROM
    if enough and w.device.type == "cpu" and chain.measures is None:
        from terralatent.models.posteriors import fused  # numba takes a second to import

        return fused.walk(chain, w, eta, sites=sites, predicted=predicted)
    return recursion.walk(chain, w, eta, sites=sites)
