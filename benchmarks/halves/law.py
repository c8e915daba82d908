r"""By how much two posterior means of one pixel differ if the model is right.

Of the whole of a pixel's observations and a half of them, by the law of total variance,

.. math:: Var(m_{half} - m_{all}) = V_{half} - V_{all}

for the latents' marginals and for every linear functional of them. A half of nothing, whose mean is
0 and whose variance is the prior's, asks how far pixels are draws from the prior. Two halves
without a common observation share it: with :math:`G_i` the gain from the pseudo-observations of a
half,

.. math:: Var(m_1 - m_2) = (K - V_1) + (K - V_2) - X - X^T, \quad X = G_1 K(t_1, t_2) G_2^T

for each latent, and a functional's weights on both sides. All of it is in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.contract import Inference, sites_last
from terralatent.models.sensor.widths import tempered

__all__ = ["Joint", "Move", "Pair", "applied", "cross_covariance", "disjoint", "move", "nested"]


@dataclass(frozen=True)
class Joint:
    """The posterior of N pixels at Q dates."""

    mean: Tensor
    """(N, Q, L), float64."""

    cov: Tensor
    """(N, L, Q, Q), float64."""

    def tempered(self, factor: Tensor) -> Joint:
        """The same where standard deviations are said as by factors of a place, (L,).

        Correlations between dates stay; see :func:`terralatent.models.sensor.widths.tempered`.
        """
        variance = self.cov.diagonal(dim1=-2, dim2=-1)
        root = (tempered(variance, factor[:, None]) / variance).sqrt()
        return Joint(self.mean, self.cov * root[..., None] * root[..., None, :])


@dataclass(frozen=True)
class Pair:
    """Two posteriors of the same pixels and dates, and how their means differ by the model."""

    one: Joint
    other: Joint

    cov: Tensor
    """Of the difference of the means, (N, L, Q, Q)."""


@dataclass(frozen=True)
class Move:
    """By how much M functionals of N pixels differ, in standard deviations of their prior."""

    away: Tensor
    """One mean minus the other, (N, M)."""

    variance: Tensor
    """That of it by the model, (N, M)."""


def nested(half: Joint, whole: Joint) -> Pair:
    """Compare what some observations say with what those and more do."""
    return Pair(half, whole, half.cov - whole.cov)


def disjoint(first: Joint, second: Joint, cross: Tensor, prior: Tensor) -> Pair:
    """Compare what observations say with what others do.

    Args:
        first: By some.
        second: By others, none of them the same.
        cross: Covariance of both means, see :func:`cross_covariance`.
        prior: Covariance of the latents at the dates, (L, Q, Q).
    """
    return Pair(first, second, 2.0 * prior - first.cov - second.cov - cross - cross.mT)


@torch.no_grad()
def cross_covariance(
    form: Inference,
    kernel: TemporalKernel,
    days: Tensor,
    first: Tensor,
    second: Tensor,
    queries: Tensor,
) -> Tensor:
    r"""Return the covariance of two halves' means, :math:`G_1 K(t_1, t_2) G_2^T`, (N, L, Q, Q).

    The second half is asked what it says on all days where its pseudo-observations are the prior's
    covariance with a query: that is :math:`K(t, t_2) G_2^T`. The first half is asked what it says
    of all queries where its pseudo-observations are that.

    Args:
        form: How posteriors are computed.
        kernel: Of L latents.
        days: Of the sites, (T,), float64.
        first: Precisions of one half, (N, T, L), float64, 0 where the other has some.
        second: Those of the other.
        queries: (Q,), float64.
    """
    between = form.prior(kernel, days, queries)[:, : len(days), len(days) :]
    etas = (second * sites_last(between)).flatten(0, 1)
    known, _ = form.marginals(kernel, days, second.repeat(len(queries), 1, 1), etas)
    columns = form.means(
        kernel, days, first, first * known.unflatten(0, (len(queries), -1)), queries
    )
    return columns.permute(1, 3, 2, 0)


def move(pair: Pair, prior: Tensor, weights: Tensor | None) -> Move:
    """Compare functionals of two posteriors.

    Args:
        pair: The two.
        prior: Covariance of the latents at the dates, (L, Q, Q).
        weights: The functionals, (M, Q, L); None: each latent at each date, M = Q L.
    """
    own = _variance(prior[None], weights)
    one, other = (applied(joint.mean, weights) for joint in (pair.one, pair.other))
    return Move((one - other) / own.sqrt(), _variance(pair.cov, weights) / own)


def applied(mean: Tensor, weights: Tensor | None) -> Tensor:
    """Functionals of means (N, Q, L), (N, M); each latent at each date without weights."""
    return mean.flatten(1) if weights is None else torch.einsum("mql,nql->nm", weights, mean)


def _variance(cov: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return cov.diagonal(dim1=-2, dim2=-1).mT.flatten(1)
    return torch.einsum("mql,nlqr,mrl->nm", weights, cov, weights)
