"""The product of kernels: processes that shape one another, such as a season that drifts."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from terralatent.models.kernels.constant import Constant
from terralatent.models.kernels.periodic import Periodic
from terralatent.models.kernels.sums import Sum
from terralatent.models.kernels.temporal import TemporalKernel


class Product(TemporalKernel):
    r"""A product of unit-variance kernels, itself of unit variance and one part of a kernel.

    .. math:: k = k_1 k_2, \quad A = A_1 \otimes A_2, \quad P_\infty = P_1 \otimes P_2, \quad
        H = H_1 \otimes H_2, \quad
        Q = A_1 P_1 A_1^T \otimes Q_2 + Q_1 \otimes P_2

    and so on for more factors; nothing in :math:`Q` is subtracted. Periodic times Matérn is the
    quasi-periodic kernel: a season whose course changes over the lengthscale of the Matérn.

    Its :meth:`timescales` is what ends its memory: the shortest lengthscale of the factors that
    decay (all but constant and periodic ones), or of all where none does. Its features are all
    products of one feature of each factor: two Matérn kernels have ``count`` squared.

    References:
        | Explicit link between periodic covariance functions and state space models
        | (Solin & Särkkä, 2014)

    Arguments:
        factors: The kernels, all with the same number of latents; none of them a sum, which must
            be multiplied out, since the parts of a kernel are independent processes. The factors
            of a product among them become its own.

    Raises:
        ValueError: If there is no factor, one is a sum, or their latents differ.
    """

    def __init__(self, factors: Sequence[TemporalKernel]) -> None:
        if len({factor.latents for factor in factors}) != 1:
            raise ValueError(
                "A product needs one or more kernels with the same number of latents, got "
                f"{[factor.latents for factor in factors]}."
            )
        for factor in factors:
            if isinstance(factor, Sum):
                raise ValueError(
                    f"A sum cannot be a factor, got {factor.description!r}; multiply it out, "
                    "as in 'constant*matern32+matern12*matern32'."
                )
        super().__init__(factors[0].latents)
        self.factors = nn.ModuleList(
            inner
            for factor in factors
            for inner in (factor._factors if isinstance(factor, Product) else (factor,))
        )

    @property
    def _factors(self) -> tuple[TemporalKernel, ...]:
        return tuple(cast(TemporalKernel, factor) for factor in self.factors)

    @property
    def description(self) -> str:
        return "*".join(factor.description for factor in self._factors)

    @property
    def needs_double(self) -> bool:
        return all(isinstance(factor, Constant | Periodic) for factor in self._factors)

    @property
    def state_dim(self) -> int:
        return reduce(lambda states, factor: states * factor.state_dim, self._factors, 1)

    def timescales(self) -> Mapping[str, Tensor]:
        lasting = (Constant, Periodic)
        decaying = [factor for factor in self._factors if not isinstance(factor, lasting)]
        days = [
            scale for factor in decaying or self._factors for scale in factor.timescales().values()
        ]
        return {self.description: torch.stack(days).amin(0)}

    def covariance(self, lag: Tensor) -> Tensor:
        return reduce(torch.mul, (factor.covariance(lag) for factor in self._factors))

    def stationary(self) -> Tensor:
        return reduce(_kron, (factor.stationary() for factor in self._factors))

    def transition(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        first, *others = self._factors
        a, q = first.transition(steps)
        p = first.stationary()
        for factor in others:
            a_next, q_next = factor.transition(steps)
            p_next = factor.stationary()
            q = _kron(a @ p @ a.mT, q_next) + _kron(q, p_next)
            a, p = _kron(a, a_next), _kron(p, p_next)
        return a, q

    def measurement(self) -> Tensor:
        rows = (factor.measurement()[:, None] for factor in self._factors)
        return reduce(_kron, rows)[:, 0]

    def part_features(
        self, days: Tensor, span: tuple[float, float], count: int
    ) -> tuple[Tensor, ...]:
        features = (factor.features(days, span, count) for factor in self._factors)
        return (reduce(lambda a, b: (a[..., :, None] * b[..., None, :]).flatten(-2), features),)


def _kron(a: Tensor, b: Tensor) -> Tensor:
    """Return the Kronecker product of the last two dimensions, the leading ones broadcast."""
    both = a[..., :, None, :, None] * b[..., None, :, None, :]
    return both.flatten(-4, -3).flatten(-2, -1)
