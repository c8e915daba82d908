r"""The posterior by dense algebra: exact, :math:`O(T^3)`; the reference for the others.

With :math:`S = W^{1/2}` and :math:`B = I + S K S = C C^T`, which is well-conditioned however small
or large the precisions, and :math:`t = S y`,

.. math::
    m_* = K_* \alpha, \quad \alpha = S B^{-1} t = \eta - W m, \quad
    v_* = k_{**} - \| C^{-1} S K_*^T \|^2

.. math:: KL[q \| p] = \tfrac{1}{2} \big( \log|B| - \sum_t w_t v_t
    + \sum_t m_t \alpha_t \big)

It keeps the prior. Time :math:`O(N L T^2 (T + Q))`, memory :math:`O(N L T (T + Q))`. The algebra is
in float64 whatever the sites are: beside precisions of 1e4 a Cholesky factor in float32 is wrong by
a few thousandths.

References:
    | Gaussian Processes for Machine Learning, section 3.4.3 (Rasmussen & Williams, 2006)
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.contract import Posterior, checked_sites


def infer(
    kernel: TemporalKernel,
    days: Tensor,
    w: Tensor,
    eta: Tensor,
    query_days: Tensor | None = None,
) -> Posterior:
    """Return the posterior; see :class:`~terralatent.models.posteriors.contract.Inference`."""
    w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
    dense = _condition(kernel, days, w, eta)
    mean, drop = _project(_between(kernel, torch.cat([days, queries]), days), dense)
    var = 1.0 - drop
    here, there = (0, len(days)), (len(days), len(queries))
    pull = mean.narrow(1, *here) * dense.alpha.mT - w * var.narrow(1, *here)
    kl = 0.5 * (_log_det(dense.factor) + pull.sum(1))
    parts = (mean.narrow(1, *here), var.narrow(1, *here), mean.narrow(1, *there))
    return Posterior(*(part.to(w) for part in (*parts, var.narrow(1, *there), kl)))


def marginals(
    kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and variance on the query days, both of shape (N, Q, L)."""
    w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
    dense = _condition(kernel, days, w, eta)
    mean, drop = _project(_between(kernel, queries, days), dense)
    return mean.to(w), (1.0 - drop).to(w)


def components(
    kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each part of the kernel, both of shape (N, Q, L, parts)."""
    w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
    dense = _condition(kernel, days, w, eta)
    means, variances = [], []
    for part in kernel.parts:
        # Parts are independent: the covariance of one with the sum is its own, h A(lag) P h^T.
        h = torch.zeros_like(kernel.measurement())
        h[:, part.states] = kernel.measurement()[:, part.states]
        lag = (queries[:, None] - days).abs()
        carried = kernel.transition(lag.flatten())[0] @ kernel.stationary()
        cross = torch.einsum("li,slij,lj->ls", h, carried, h).unflatten(1, lag.shape)
        mean, drop = _project(cross, dense)
        means.append(mean)
        variances.append(torch.einsum("li,lij,lj->l", h, kernel.stationary(), h) - drop)
    return torch.stack(means, dim=-1).to(w), torch.stack(variances, dim=-1).to(w)


def log_evidence(kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor) -> Tensor:
    """Return the log-density of the pseudo-observations, shape (N, L)."""
    w, eta, _ = checked_sites(kernel, days, w, eta, None)
    dense = _condition(kernel, days, w, eta)
    seen = w > 0
    constants = (w.where(seen, 1.0).double().log() - math.log(2.0 * math.pi)).where(seen, 0.0)
    misfit = dense.target.square().sum((-2, -1))
    return (0.5 * (constants.sum(1) - _log_det(dense.factor) - misfit)).to(w)


class _Dense(NamedTuple):
    """The sites' part of the algebra, float64."""

    root: Tensor
    """The diagonal of S, (N, L, T)."""

    factor: Tensor
    """C, (N, L, T, T)."""

    target: Tensor
    """C^-1 t, (N, L, T, 1)."""

    alpha: Tensor
    """(N, L, T)."""


def _condition(kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor) -> _Dense:
    w, eta = w.double().transpose(1, 2), eta.double().transpose(1, 2)
    seen = w > 0
    root = w.where(seen, 1.0).sqrt()  # the root of 0 has no finite gradient
    t = (eta / root).where(seen, 0.0)[..., None]
    root = root.where(seen, 0.0)
    b = root[..., None] * _between(kernel, days, days) * root[..., None, :]
    factor = torch.linalg.cholesky(b + torch.eye(len(days), dtype=w.dtype, device=w.device))
    target = torch.linalg.solve_triangular(factor, t, upper=False)
    back = torch.linalg.solve_triangular(factor.mT, target, upper=True)
    return _Dense(root, factor, target, root * back[..., 0])


def _between(kernel: TemporalKernel, rows: Tensor, days: Tensor) -> Tensor:
    """Return the prior covariance between two calendars, (L, R, T)."""
    return kernel.covariance(rows[:, None] - days).movedim(-1, 0)


def _project(cross: Tensor, dense: _Dense) -> tuple[Tensor, Tensor]:
    """Return mean and drop of variance, (N, R, L), where the prior covariance is (L, R, T)."""
    white = torch.linalg.solve_triangular(
        dense.factor, (cross * dense.root[..., None, :]).mT, upper=False
    )
    mean = (cross @ dense.alpha[..., None]).squeeze(-1)
    return mean.transpose(1, 2), white.square().sum(-2).transpose(1, 2)


def _log_det(factor: Tensor) -> Tensor:
    return 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
