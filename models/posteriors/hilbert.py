r"""The posterior under a Hilbert-space basis: a Gaussian process of a few fixed functions.

On an interval a stationary kernel with the spectral density S is about a sum over the
eigenfunctions of the Laplacian,

.. math:: k(t - t') \approx \phi(t)^T \phi(t'), \quad
    \phi_j(t) = S(\omega_j)^{1/2} H^{-1/2} \sin(\omega_j (t - c + H))

so that the weights need no whitening. Constants, periodic kernels and white noise, which have
finite features, are exact (:meth:`~terralatent.models.kernels.TemporalKernel.part_features`).
Conditioning is exact under this prior, and the KL is against it: it does NOT keep the kernel's own.

The interval goes with the days of the sites, so no query changes what is said of another day. At
queries outside them the basis fades; what it lacks there of the kernel's variance is added as a
rest, so that the kernel's own variance returns. What a basis of M resolves is about :math:`2 H / M`
days, to compare with the lengthscale; short ones over many years need many.

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
    calendar_free: ClassVar[bool] = False
    cost: ClassVar[str] = "T M^2 + M^3, M functions"

    functions: int = 64
    """How many of each Matérn kernel, at least 1."""

    def __post_init__(self) -> None:
        if self.functions < 1:
            raise ValueError(f"There must be at least one function, got {self.functions}.")

    def features(self, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> Features:
        parts = self._parts(kernel, days, queries)
        rest = torch.stack([part.rest for part in parts]).sum(0)
        return Features(torch.cat([part.phi for part in parts], -1), rest)

    def part_features(
        self, kernel: TemporalKernel, days: Tensor, queries: Tensor
    ) -> tuple[Features, ...]:
        parts = self._parts(kernel, days, queries)
        at_queries = [
            Features(part.phi[:, len(days) :], part.rest[:, len(days) :]) for part in parts
        ]
        nothing = [torch.zeros_like(part.phi) for part in at_queries]
        # The others' features are zero, so that all parts see the same weights.
        return tuple(
            Features(torch.cat([*nothing[:i], part.phi, *nothing[i + 1 :]], -1), part.rest)
            for i, part in enumerate(at_queries)
        )

    def prior(self, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> Tensor:
        everywhere = torch.cat([days, queries])
        alike = kernel.part_covariance(everywhere[:, None] - everywhere).permute(3, 2, 0, 1)
        total = torch.zeros_like(alike[0])
        for part, covariance in zip(self._parts(kernel, days, queries), alike, strict=True):
            # The rests of two days are as alike as the kernel has it: with the root this is a
            # covariance, and that of the kernel itself where the basis has ended.
            share = part.rest / covariance.diagonal(dim1=-2, dim2=-1)
            root = share.where(share > 0, 1.0).sqrt().where(share > 0, 0.0)
            total = total + part.phi @ part.phi.mT + root[:, :, None] * covariance * root[:, None]
        return total

    def _parts(self, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> tuple[Features, ...]:
        """Return those of each part of the kernel on the days and then on the queries."""
        everywhere = torch.cat([days, queries])
        span = (float(days[0]), float(days[-1])) if len(days) else (0.0, 0.0)
        outside = torch.ones_like(everywhere, dtype=torch.bool)
        if len(days):
            outside = (everywhere < days[0]) | (everywhere > days[-1])
        owns = kernel.part_covariance(everywhere.new_zeros(1))[0].T
        features = []
        for basis, own in zip(
            kernel.part_features(everywhere, span, self.functions), owns, strict=True
        ):
            phi = basis.movedim(0, 1)
            lacking = (own[:, None] - phi.square().sum(-1)).clamp_min(0.0)
            features.append(Features(phi, lacking * outside))
        return tuple(features)
