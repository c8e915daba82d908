"""The Matérn-1/2 kernel over time, as a covariance and as a state-space model."""

import torch
from torch import Tensor

from terralatent.models.kernels.matern import Matern


class Matern12(Matern):
    r"""The Matérn kernel of smoothness 1/2 (Ornstein-Uhlenbeck), one state.

    .. math:: k(\tau) = e^{-x}, \quad A = e^{-x}, \quad Q = 1 - e^{-2x},
        \quad x = |\tau| / \ell

    and :math:`P_\infty = 1`. Arguments are those of
    :class:`~terralatent.models.kernels.matern.Matern`.
    """

    kind = "matern12"
    smoothness = 0.5

    def covariance(self, lag: Tensor) -> Tensor:
        return torch.exp(-self.scaled(lag.abs()))

    def stationary(self) -> Tensor:
        return torch.ones_like(self.lengthscale.detach(), dtype=torch.float64)[:, None, None]

    def transition(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        x = self.scaled(steps)[..., None, None]
        return torch.exp(-x), -torch.expm1(-2.0 * x)
