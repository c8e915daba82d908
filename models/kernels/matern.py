"""What Matérn kernels over time share, whatever their smoothness."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.kernels.hilbert_basis import hilbert_basis
from terralatent.models.kernels.lengthscales import (
    INITIAL,
    LONGEST,
    SHORTEST,
    BoundedLengthscale,
    LengthscaleKernel,
)

__all__ = ["LONGEST", "SHORTEST", "Matern"]

MARGIN = 3.5
"""Lengthscales from the span of a Hilbert-space basis to the ends of its interval.

Measured over 5 years and lengthscales from 20 to 2,000 days: with fewer the error at the ends of
the span, k(2 MARGIN), is what remains; more cost functions. It is 9e-4 for the Matérn-1/2, 7e-5 for
the -3/2 and 2e-5 for the -5/2.
"""


class Matern(LengthscaleKernel):
    r"""A Matérn kernel of half-integer smoothness :math:`\nu`, with :math:`\nu + 1/2` states.

    .. math:: x = \lambda |\tau|, \quad \lambda = \sqrt{2 \nu} / \ell, \quad
        S(\omega) = \frac{2 \sqrt{\pi}\, \Gamma(\nu + 1/2)}{\lambda\, \Gamma(\nu)}
        \left(1 + \frac{\omega^2}{\lambda^2}\right)^{-(\nu + 1/2)}

    Arguments:
        latents: The number of latents L.
        lengthscale: Initial :math:`\ell` in days, one for all or shape :math:`(L)`.
        learnable: Whether :math:`\ell` takes gradients.
    """

    smoothness: ClassVar[float]

    def __init__(
        self, latents: int, lengthscale: float | Tensor = INITIAL, learnable: bool = True
    ) -> None:
        keeper = BoundedLengthscale(latents, SHORTEST, LONGEST)
        super().__init__(latents, keeper, lengthscale, learnable)

    @property
    def state_dim(self) -> int:
        return round(self.smoothness + 0.5)

    def measurement(self) -> Tensor:
        first = torch.zeros(self.latents, self.state_dim, dtype=torch.float64)
        first[:, 0] = 1.0
        return first.to(self.gpytorch.raw_lengthscale.device)

    def part_features(
        self, days: Tensor, span: tuple[float, float], count: int
    ) -> tuple[Tensor, ...]:
        margin = MARGIN * self.lengthscale.double()
        basis, frequencies = hilbert_basis(days, span, margin, count)
        return (basis * self.spectral_density(frequencies).sqrt(),)

    def spectral_density(self, frequencies: Tensor) -> Tensor:
        r"""Return :math:`S` in days, at radians a day of shape :math:`(L, M)`."""
        order = self.smoothness + 0.5
        top = 2.0 * math.sqrt(math.pi) * math.gamma(order) / math.gamma(self.smoothness)
        rate = self._rate()[:, None]
        return top / rate * (1.0 + (frequencies / rate).square()) ** -order

    def scaled(self, lag: Tensor) -> Tensor:
        r"""Return :math:`\lambda \tau`, shape :math:`(*, L)`."""
        return lag.double()[..., None] * self._rate()

    def _rate(self) -> Tensor:
        return math.sqrt(2.0 * self.smoothness) / self.lengthscale.double()
