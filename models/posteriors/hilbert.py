r"""The posterior under a Hilbert-space basis: a Gaussian process of a few fixed functions.

On an interval a stationary kernel with the spectral density S is about a sum over the
eigenfunctions of the Laplacian,

.. math:: k(t - t') \approx \phi(t)^T \phi(t'), \quad
    \phi_j(t) = S(\omega_j)^{1/2} H^{-1/2} \sin(\omega_j (t - c + H))

so that the weights need no whitening. Constants, periodic kernels and white noise, which have
finite features, are exact (:meth:`~terralatent.models.kernels.TemporalKernel.part_features`).
Conditioning is exact under this prior, and the KL is against it: it does NOT keep the kernel's own.

The interval spans days and queries of a call, so queries far outside the calendar widen it and
leave fewer functions for the days between: ask for them apart. What a basis of M resolves is about
:math:`2 H / M` days, to compare with the lengthscale; short ones over many years need many.

References:
    | Hilbert space methods for reduced-rank Gaussian process regression (Solin & Särkkä, 2020)
    | Practical Hilbert space approximate Bayesian Gaussian processes for probabilistic
    | programming (Riutort-Mayol et al., 2022)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.weights import Features, Weighted


@dataclass(frozen=True)
class Hilbert(Weighted):
    """Basis functions; see :class:`~terralatent.models.posteriors.contract.Inference`."""

    keeps_prior: ClassVar[bool] = False
    cost: ClassVar[str] = "T M^2 + M^3, M functions"

    functions: int = 64
    """How many of each Matérn kernel, at least 1."""

    def __post_init__(self) -> None:
        if self.functions < 1:
            raise ValueError(f"There must be at least one function, got {self.functions}.")

    def features(self, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> Features:
        return _no_rest(torch.cat(self._parts(kernel, days, queries), dim=-1))

    def part_features(
        self, kernel: TemporalKernel, days: Tensor, queries: Tensor
    ) -> tuple[Features, ...]:
        parts = [part[len(days) :] for part in self._parts(kernel, days, queries)]
        nothing = [torch.zeros_like(part) for part in parts]
        # The others' features are zero, so that all parts look at the same weights.
        return tuple(
            _no_rest(torch.cat([*nothing[:i], part, *nothing[i + 1 :]], dim=-1))
            for i, part in enumerate(parts)
        )

    def prior(self, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> Tensor:
        phi = self.features(kernel, days, queries).phi
        return phi @ phi.mT

    def _parts(self, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> tuple[Tensor, ...]:
        everywhere = torch.cat([days, queries])
        span = (0.0, 0.0)
        if len(everywhere):
            span = (float(everywhere.min()), float(everywhere.max()))
        return kernel.part_features(everywhere, span, self.functions)


def _no_rest(phi: Tensor) -> Features:
    """Return the features (S, L, M) of a series that is all theirs."""
    phi = phi.movedim(0, 1)
    return Features(phi, phi.new_zeros(phi.shape[:2]))
