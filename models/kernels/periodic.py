"""The periodic kernel over time, as a covariance and as harmonics that turn."""

import math
from typing import ClassVar, cast

import torch
from torch import Tensor

from terralatent.models.kernels.lengthscales import (
    INITIAL,
    LONGEST,
    SHORTEST,
    LengthscaleKernel,
)

YEAR = 365.2425
"""The mean year of the Gregorian calendar in days."""

HARMONICS = 2
"""Harmonics of a kernel that names none: a year and half a year, five states."""

MOST_HARMONICS, LONGEST_PERIOD = 32, 10_000.0
"""Up to these all shares of the harmonics stay far from overflow and underflow in float64."""


class Periodic(LengthscaleKernel):
    r"""A process that repeats itself: the first J harmonics of the periodic kernel.

    .. math:: k(\tau) \propto \sum_{j=0}^{J} q_j^2 \cos \frac{2 \pi j \tau}{p}
        \;\to\; \exp\left(-2 z \sin^2 \frac{\pi \tau}{p}\right) \quad (J \to \infty), \quad
        z = \left(\frac{p}{2 \pi \ell}\right)^2

    with :math:`q_j^2 = 2 e^{-z} I_j(z)`, half of it at :math:`j = 0`, and scaled to unit variance.
    At lags far below the period that is a squared exponential, :math:`\exp(-\tau^2 / 2 \ell^2)`, so
    the lengthscale is in days here too and has the bounds of all others. Harmonics that are left
    out matter where it is short: two of a year hold 98 % of the variance at 60 days, and below
    :math:`p / 2 \pi J` (29 days) they only tend to equal shares. Far above :math:`p / 2 \pi` (58
    days) the process is nearly constant.

    State-space form: a constant level, then two states for each harmonic that turn by
    :math:`2 \pi j \tau / p`; :math:`Q = 0` and :math:`P_\infty = \mathrm{diag}(q_0^2, q_1^2, q_1^2,
    \dots)`. The covariance is the truncated sum as well, so both are one process.

    GPyTorch's :class:`~gpytorch.kernels.PeriodicKernel`, which keeps the parameter, calls
    :math:`1/z` its lengthscale.

    References:
        | Explicit link between periodic covariance functions and state space models
        | (Solin & Särkkä, 2014)

    Arguments:
        latents: The number of latents L.
        lengthscale: Initial :math:`\ell` in days, one for all or shape :math:`(L)`.
        learnable: Whether :math:`\ell` takes gradients.
        harmonics: J, from 1 to 32; there are 1 + 2J states.
        period: p in days, fixed, from 1 to 10,000.

    Raises:
        ValueError: If harmonics, period or lengthscale lie outside their bounds.
    """

    kind: ClassVar[str] = "periodic"

    def __init__(
        self,
        latents: int,
        lengthscale: float | Tensor = INITIAL,
        learnable: bool = True,
        harmonics: int = HARMONICS,
        period: float = YEAR,
    ) -> None:
        if not 1 <= harmonics <= MOST_HARMONICS:
            raise ValueError(
                f"A periodic kernel has 1 to {MOST_HARMONICS} harmonics, got {harmonics}; "
                f"two of a year are enough for lengthscales from {INITIAL:g} days."
            )
        if not 1.0 <= period <= LONGEST_PERIOD:
            raise ValueError(
                f"A period must lie within [1, {LONGEST_PERIOD:g}] days, got {period}; "
                f"a year has {YEAR}."
            )
        from gpytorch.constraints import Interval  # half a second, and few models have a season
        from gpytorch.kernels import PeriodicKernel

        self._turn = period / (2.0 * math.pi)
        keeper = PeriodicKernel(
            batch_shape=torch.Size([latents]),
            lengthscale_constraint=Interval(
                (SHORTEST / self._turn) ** 2, (LONGEST / self._turn) ** 2
            ),
        )
        keeper.period_length = period
        keeper.raw_period_length.requires_grad_(False)
        super().__init__(latents, keeper, lengthscale, learnable)
        self.harmonics = harmonics
        self.period = period

    @property
    def description(self) -> str:
        """``periodic``, with what is not the default: ``periodic4``, ``periodic@182.6``."""
        count = "" if self.harmonics == HARMONICS else str(self.harmonics)
        period = "" if self.period == YEAR else f"@{float(self.period)}".removesuffix(".0")
        return self.kind + count + period

    @property
    def needs_double(self) -> bool:
        return True

    @property
    def state_dim(self) -> int:
        return 1 + 2 * self.harmonics

    def shares(self) -> Tensor:
        r"""Return :math:`q_j^2` scaled to sum to one, shape :math:`(L, J + 1)`, float64.

        From Poisson's integral, :math:`I_j(z) = \frac{z^j}{(2j - 1)!!}` times the mean over a turn
        of :math:`e^{z \cos \theta} \sin^{2j} \theta`. On even nodes that mean is exact to rounding,
        and nothing in it is negative, so the smallest shares keep their digits.
        """
        kept = cast(Tensor, self.gpytorch.lengthscale)
        z = kept.reshape(self.latents, 1).double().reciprocal()
        sharpest = math.ceil(self._turn / SHORTEST)
        nodes = 32 + 4 * self.harmonics + 10 * sharpest
        theta = torch.arange(nodes, dtype=z.dtype, device=z.device) * (2.0 * math.pi / nodes)
        order = torch.arange(self.harmonics + 1, dtype=z.dtype, device=z.device)
        bump = torch.exp(-2.0 * z * torch.sin(0.5 * theta).square())
        mean = bump @ torch.sin(theta).square()[:, None] ** order / nodes
        odd = torch.cumprod((2.0 * order - 1.0).clamp_min(1.0), dim=0)
        power = mean * z**order / odd * torch.where(order > 0, 2.0, 1.0)
        return power / power.sum(-1, keepdim=True)

    def covariance(self, lag: Tensor) -> Tensor:
        waves = torch.cos(self._angles(lag))
        return torch.einsum("...j,lj->...l", waves, self.shares())

    def stationary(self) -> Tensor:
        shares = self.shares()
        return torch.diag_embed(
            torch.cat([shares[:, :1], shares[:, 1:].repeat_interleave(2, -1)], -1)
        )

    def transition(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        angles = self._angles(steps)
        cos, sin = torch.cos(angles), torch.sin(angles)
        a = torch.diag_embed(cos[:, [(i + 1) // 2 for i in range(self.state_dim)]])
        first = torch.arange(1, self.state_dim, 2, device=a.device)
        a[:, first, first + 1] = -sin[:, 1:]
        a[:, first + 1, first] = sin[:, 1:]
        a = a[:, None].expand(-1, self.latents, -1, -1)
        return a, torch.zeros_like(a)

    def measurement(self) -> Tensor:
        h = torch.zeros(self.latents, self.state_dim, dtype=torch.float64)
        h[:, 0] = 1.0
        h[:, 1::2] = 1.0
        return h.to(self.gpytorch.raw_lengthscale.device)

    def part_features(
        self, days: Tensor, span: tuple[float, float], count: int
    ) -> tuple[Tensor, ...]:
        angles = self._angles(days.double() - 0.5 * (span[0] + span[1]))
        waves = torch.cat([torch.cos(angles), torch.sin(angles[:, 1:])], dim=-1)
        roots = self.shares().sqrt()
        return (waves[:, None] * torch.cat([roots, roots[:, 1:]], dim=-1),)

    def _angles(self, days: Tensor) -> Tensor:
        r"""Return :math:`2 \pi j t / p` of all harmonics from 0, shape :math:`(*, J + 1)`."""
        order = torch.arange(
            self.harmonics + 1, dtype=torch.float64, device=self.gpytorch.raw_lengthscale.device
        )
        # Folded first: the angle of a day of this century would lose four digits.
        folded = torch.remainder(days.double(), self.period)
        return folded[..., None] / self._turn * order

    def _to_days(self, kept: Tensor) -> Tensor:
        return self._turn * kept.sqrt()

    def _from_days(self, days: Tensor) -> Tensor:
        return (days / self._turn).square()
