"""The Matérn-3/2 kernel over time, as a covariance and as a state-space model."""

import torch
from torch import Tensor

from terralatent.models.kernels.matern import Matern


class Matern32(Matern):
    r"""The Matérn kernel of smoothness 3/2, states :math:`(f, f' / \lambda)`.

    .. math:: k(\tau) = (1 + x) e^{-x}, \quad
        A = e^{-x} \begin{pmatrix} 1 + x & x \\ -x & 1 - x \end{pmatrix}, \quad
        x = \lambda |\tau|, \quad \lambda = \sqrt{3} / \ell

    and :math:`P_\infty = I`, so :math:`Q = I - A A^T`, which is computed without the subtraction:
    :math:`Q_{11} = 1 - e^{-2x}(1 + 2x + 2x^2)` is the incomplete gamma function :math:`P(3, 2x)`
    (of order :math:`x^3`), :math:`Q_{12} = 2 x^2 e^{-2x}`, and
    :math:`Q_{22} = (1 - e^{-2x}) + 2x(1 - x) e^{-2x}` (of order :math:`x`).

    Arguments are those of :class:`~terralatent.models.kernels.matern.Matern`.
    """

    kind = "matern32"
    smoothness = 1.5

    def covariance(self, lag: Tensor) -> Tensor:
        x = self.scaled(lag.abs())
        return (1.0 + x) * torch.exp(-x)

    def stationary(self) -> Tensor:
        eye = torch.eye(2, dtype=torch.float64, device=self.gpytorch.raw_lengthscale.device)
        return eye.expand(self.latents, -1, -1)

    def transition(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        x = self.scaled(steps)
        once, twice = torch.exp(-x), torch.exp(-2.0 * x)
        a = torch.stack([(1.0 + x) * once, x * once, -x * once, (1.0 - x) * once], dim=-1)
        q11 = torch.special.gammainc(torch.full_like(x, 3.0), 2.0 * x)
        q12 = 2.0 * x**2 * twice
        q22 = -torch.expm1(-2.0 * x) + 2.0 * x * (1.0 - x) * twice
        q = torch.stack([q11, q12, q12, q22], dim=-1)
        return a.unflatten(-1, (2, 2)), q.unflatten(-1, (2, 2))
