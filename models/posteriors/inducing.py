r"""The posterior by inducing points: a sparse variational GP with its optimal q(u).

The weights are the series at M days :math:`z`, whitened by :math:`K_{zz} = L L^T`,

.. math:: \phi(t) = L^{-1} k_z(t), \quad \rho(t) = k(0) - |\phi(t)|^2

and the sites see their part only, :math:`Q = \Phi \Phi^T` in place of :math:`K`. That q is the one
which maximises the bound on the evidence with the kernel's own prior, as Titsias found it:

.. math:: \log N(y; 0, K + W^{-1}) \ge \log N(y; 0, Q + W^{-1})
    - \tfrac{1}{2} \sum_t w_t \rho(t)

So it keeps the prior, and far from data its variance returns. The days are spread over the
different days of the calendar, evenly by rank; with all of them it is exact, to the jitter (1e-6
at precisions up to 100). A part of the kernel has features of its own, its covariance with
:math:`f(z)`, whitened by the same L.

References:
    | Variational learning of inducing variables in sparse Gaussian processes (Titsias, 2009)
    | Gaussian processes for big data (Hensman et al., 2013)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.weights import Features, Weighted

JITTER = 1e-10
"""Added to the variance at the inducing points: constant and periodic kernels are singular there,
and so is any smooth one at days a minute apart."""


@dataclass(frozen=True)
class Inducing(Weighted):
    """Sparse variational GP; see :class:`~terralatent.models.posteriors.contract.Inference`."""

    keeps_prior: ClassVar[bool] = True
    calendar_free: ClassVar[bool] = False
    cost: ClassVar[str] = "T M^2 + M^3, M points"

    points: int = 32
    """How many inducing points at most, at least 1."""

    def __post_init__(self) -> None:
        if self.points < 1:
            raise ValueError(f"There must be at least one inducing point, got {self.points}.")

    def at(self, days: Tensor) -> Tensor:
        """Return the days of the inducing points, (M,): of a calendar's, or all where fewer."""
        different: Tensor = torch.unique(days)
        if len(different) <= self.points:
            return different
        last, steps = len(different) - 1, self.points - 1
        if steps == 0:
            return different[last // 2, None]
        ranks = (2 * last * torch.arange(self.points, device=days.device) + steps) // (2 * steps)
        return different[ranks]

    def features(self, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> Features:
        (whole,) = self._whitened(kernel, days, torch.cat([days, queries]), parts=False)
        return whole

    def part_features(
        self, kernel: TemporalKernel, days: Tensor, queries: Tensor
    ) -> tuple[Features, ...]:
        return self._whitened(kernel, days, queries, parts=True)

    def prior(self, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> Tensor:
        own = kernel.covariance(queries[:, None] - queries).movedim(-1, 0)
        phi = self.features(kernel, days, queries).phi
        sites, ahead = phi.split([len(days), len(queries)], dim=1)
        above = sites @ phi.mT
        return torch.cat([above, torch.cat([ahead @ sites.mT, own], dim=2)], dim=1)

    def _whitened(
        self, kernel: TemporalKernel, days: Tensor, where: Tensor, parts: bool
    ) -> tuple[Features, ...]:
        """Return the features of the series, or of each part, on the days ``where``."""
        at = self.at(days)
        eye = torch.eye(len(at), dtype=at.dtype, device=at.device)
        between = kernel.covariance(at[:, None] - at).movedim(-1, 0)
        factor = torch.linalg.cholesky(between + JITTER * eye)
        lag = at[:, None] - where
        here = at.new_zeros(1)
        if parts:
            crosses = kernel.part_covariance(lag).unbind(-1)
            owns = kernel.part_covariance(here).unbind(-1)
        else:
            crosses, owns = (kernel.covariance(lag),), (kernel.covariance(here),)
        features = []
        for cross, own in zip(crosses, owns, strict=True):
            phi = torch.linalg.solve_triangular(factor, cross.movedim(-1, 0), upper=False).mT
            rest = (own.T - phi.square().sum(-1)).clamp_min(0.0)
            features.append(Features(phi, rest))
        return tuple(features)
