"""The Matérn-5/2 kernel over time, as a covariance and as a state-space model."""

import math

import torch
from torch import Tensor

from terralatent.models.kernels.matern import Matern

DIFFUSION = 16.0 / 3.0
"""The spectral density of the noise that drives the last state, in units of x."""


class Matern52(Matern):
    r"""The Matérn kernel of smoothness 5/2, states :math:`(f, f' / \lambda, f'' / \lambda^2)`.

    .. math:: k(\tau) = \left(1 + x + \tfrac{x^2}{3}\right) e^{-x}, \quad
        x = \lambda |\tau|, \quad \lambda = \sqrt{5} / \ell, \quad
        A = e^{-x} \left(I + x N + \tfrac{x^2}{2} N^2\right)

    .. math:: N = \begin{pmatrix} 1 & 1 & 0 \\ 0 & 1 & 1 \\ -1 & -3 & -2 \end{pmatrix}, \quad
        N^3 = 0, \quad
        P_\infty = \tfrac13 \begin{pmatrix} 3 & 0 & -1 \\ 0 & 1 & 0 \\ -1 & 0 & 3 \end{pmatrix}

    The noise is an integral over the last column of A,
    :math:`v = e^{-s} (s^2/2,\; s - s^2/2,\; 1 - 2s + s^2/2)`:

    .. math:: Q = \tfrac{16}{3} \int_0^x v v^T ds, \quad
        \int_0^x s^k e^{-2s} ds = \frac{k!}{2^{k+1}} P(k + 1, 2x)

    with the incomplete gamma function :math:`P`, so that no two terms of one size cancel however
    short the gap. As :math:`v_1' = v_2` and :math:`v_2' = v_3`, two elements are whole
    derivatives: :math:`Q_{12} = \tfrac83 v_1^2` and :math:`Q_{23} = \tfrac83 v_2^2`.

    Arguments are those of :class:`~terralatent.models.kernels.matern.Matern`.
    """

    kind = "matern52"
    smoothness = 2.5

    def covariance(self, lag: Tensor) -> Tensor:
        x = self.scaled(lag.abs())
        return (1.0 + x + x.square() / 3.0) * torch.exp(-x)

    def stationary(self) -> Tensor:
        third = 1.0 / 3.0
        p = [[1.0, 0.0, -third], [0.0, third, 0.0], [-third, 0.0, 1.0]]
        device = self.gpytorch.raw_lengthscale.device
        return torch.tensor(p, dtype=torch.float64, device=device).expand(self.latents, -1, -1)

    def transition(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        x = self.scaled(steps)
        n = x.new_tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [-1.0, -3.0, -2.0]])
        x_ = x[..., None, None]
        eye = torch.eye(3, dtype=x.dtype, device=x.device)
        a = torch.exp(-x_) * (eye + x_ * n + 0.5 * x_.square() * (n @ n))
        return a, self._noise(x)

    def _noise(self, x: Tensor) -> Tensor:
        s0, s1, s2, s3, s4 = (_moment(k, x) for k in range(5))
        decay = torch.exp(-2.0 * x)
        v1, v2 = 0.5 * x.square(), x - 0.5 * x.square()
        q11 = 0.25 * s4
        q12 = 0.5 * v1.square() * decay
        q13 = 0.5 * s2 - s3 + 0.25 * s4
        q22 = s2 - s3 + 0.25 * s4
        q23 = 0.5 * v2.square() * decay
        q33 = s0 - 4.0 * s1 + 5.0 * s2 - 2.0 * s3 + 0.25 * s4
        rows = ([q11, q12, q13], [q12, q22, q23], [q13, q23, q33])
        return DIFFUSION * torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _moment(k: int, x: Tensor) -> Tensor:
    r"""Return :math:`\int_0^x s^k e^{-2s} ds`."""
    if k == 0:  # the gradient of the incomplete gamma function of order 1 is NaN at 0
        return -0.5 * torch.expm1(-2.0 * x)
    share: Tensor = torch.special.gammainc(torch.full_like(x, k + 1.0), 2.0 * x)
    return math.factorial(k) / 2.0 ** (k + 1) * share
