"""Matérn kernels over time, as covariances and as state-space models."""

import math
from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from gpytorch.constraints import Interval
from gpytorch.kernels import MaternKernel
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel

SHORTEST, LONGEST = 8.0, 2000.0
"""Bounds of a lengthscale in days. Left free, one falls to 2 days and stores haze."""

INITIAL = 60.0
"""The lengthscale in days of a kernel that was told nothing."""


class Matern(TemporalKernel):
    r"""What Matérn kernels share: the lengthscale :math:`\ell`, kept by a GPyTorch kernel.

    The covariance is our own: GPyTorch takes distances from squares, which loses half of the
    digits at short lags.

    Arguments:
        latents: The number of latents L.
        lengthscale: Initial :math:`\ell` in days, one for all or shape :math:`(L)`.
        learnable: Whether :math:`\ell` takes gradients.
    """

    kind: ClassVar[str]
    smoothness: ClassVar[float]

    def __init__(
        self, latents: int, lengthscale: float | Tensor = INITIAL, learnable: bool = True
    ) -> None:
        super().__init__(latents)
        self.gpytorch = MaternKernel(
            nu=self.smoothness,
            batch_shape=torch.Size([latents]),
            lengthscale_constraint=Interval(SHORTEST, LONGEST),
        )
        self.set_lengthscale(lengthscale)
        self.gpytorch.raw_lengthscale.requires_grad_(learnable)

    @property
    def description(self) -> str:
        return self.kind

    @property
    def lengthscale(self) -> Tensor:
        r""":math:`\ell` in days, shape :math:`(L)`."""
        return cast(Tensor, self.gpytorch.lengthscale).reshape(self.latents)

    def set_lengthscale(self, days: float | Tensor) -> None:
        r"""Set :math:`\ell`, one for all latents or shape :math:`(L)`.

        A value on a bound is moved inside by a thousandth, from where gradients can move it.

        Raises:
            ValueError: If a lengthscale lies outside the bounds, or the shape is another.
        """
        raw = self.gpytorch.raw_lengthscale
        wanted = torch.as_tensor(days, dtype=raw.dtype, device=raw.device)
        if wanted.ndim > 1 or (wanted.ndim == 1 and len(wanted) != self.latents):
            raise ValueError(
                f"Lengthscales of {self.latents} latents cannot have shape {tuple(wanted.shape)}; "
                f"give one number or shape ({self.latents},)."
            )
        if not bool(((wanted >= SHORTEST) & (wanted <= LONGEST)).all()):
            raise ValueError(
                f"Lengthscales must lie within [{SHORTEST:g}, {LONGEST:g}] days, got "
                f"{wanted.tolist()}; clamp them first."
            )
        inside = wanted.clamp(1.001 * SHORTEST, 0.999 * LONGEST)
        self.gpytorch.lengthscale = inside.expand(self.latents)[:, None, None]

    def timescales(self) -> Mapping[str, Tensor]:
        return {self.kind: self.lengthscale.detach()}

    def measurement(self) -> Tensor:
        first = torch.zeros(self.latents, self.state_dim, dtype=torch.float64)
        first[:, 0] = 1.0
        return first.to(self.gpytorch.raw_lengthscale.device)

    def stationary(self) -> Tensor:
        eye = torch.eye(self.state_dim, dtype=torch.float64)
        return eye.expand(self.latents, -1, -1).to(self.gpytorch.raw_lengthscale.device)

    def scaled(self, lag: Tensor) -> Tensor:
        r"""Return :math:`\lambda \tau = \sqrt{2 \nu} \tau / \ell` of shape :math:`(*, L)`."""
        rate = math.sqrt(2.0 * self.smoothness) / self.lengthscale.double()
        return lag.double()[..., None] * rate


class Matern12(Matern):
    r"""The Matérn kernel of smoothness 1/2 (Ornstein-Uhlenbeck), one state.

    .. math:: k(\tau) = e^{-x}, \quad A = e^{-x}, \quad Q = 1 - e^{-2x},
        \quad x = |\tau| / \ell
    """

    kind = "matern12"
    smoothness = 0.5

    @property
    def state_dim(self) -> int:
        return 1

    def covariance(self, lag: Tensor) -> Tensor:
        return torch.exp(-self.scaled(lag.abs()))

    def transition(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        x = self.scaled(steps)[..., None, None]
        return torch.exp(-x), -torch.expm1(-2.0 * x)


class Matern32(Matern):
    r"""The Matérn kernel of smoothness 3/2, states :math:`(f, f' / \lambda)`.

    .. math:: k(\tau) = (1 + x) e^{-x}, \quad
        A = e^{-x} \begin{pmatrix} 1 + x & x \\ -x & 1 - x \end{pmatrix}, \quad
        x = \lambda |\tau|, \quad \lambda = \sqrt{3} / \ell

    and :math:`P_\infty = I`, so :math:`Q = I - A A^T`, which is computed without the subtraction:
    :math:`Q_{11} = 1 - e^{-2x}(1 + 2x + 2x^2)` is the incomplete gamma function :math:`P(3, 2x)`
    (of order :math:`x^3`), :math:`Q_{12} = 2 x^2 e^{-2x}`, and
    :math:`Q_{22} = (1 - e^{-2x}) + 2x(1 - x) e^{-2x}` (of order :math:`x`).
    """

    kind = "matern32"
    smoothness = 1.5

    @property
    def state_dim(self) -> int:
        return 2

    def covariance(self, lag: Tensor) -> Tensor:
        x = self.scaled(lag.abs())
        return (1.0 + x) * torch.exp(-x)

    def transition(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        x = self.scaled(steps)
        once, twice = torch.exp(-x), torch.exp(-2.0 * x)
        a = torch.stack([(1.0 + x) * once, x * once, -x * once, (1.0 - x) * once], dim=-1)
        q11 = torch.special.gammainc(torch.full_like(x, 3.0), 2.0 * x)
        q12 = 2.0 * x**2 * twice
        q22 = -torch.expm1(-2.0 * x) + 2.0 * x * (1.0 - x) * twice
        q = torch.stack([q11, q12, q12, q22], dim=-1)
        return a.unflatten(-1, (2, 2)), q.unflatten(-1, (2, 2))
