"""Kernels with one lengthscale in days: bounded, learnable or fixed, kept as GPyTorch keeps it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel

SHORTEST, LONGEST = 8.0, 2000.0
"""Bounds of a lengthscale in days. Left free, one falls to 2 days and stores haze."""

INITIAL = 60.0
"""The lengthscale in days of a kernel that names none."""


class _Bounds(torch.nn.Module):
    """Two bounds, and the logistic curve between them."""

    lower_bound: Tensor
    upper_bound: Tensor

    def __init__(self, lower: float, upper: float) -> None:
        super().__init__()
        self.register_buffer("lower_bound", torch.tensor(lower))
        self.register_buffer("upper_bound", torch.tensor(upper))


class BoundedLengthscale(torch.nn.Module):
    r"""A number for each latent between two bounds, free of bounds as a parameter.

    Its parameter and buffers have the names, shapes and values of a GPyTorch kernel with an
    ``Interval`` constraint, so that a checkpoint is the same; GPyTorch itself, which takes half a
    second to import, is then of training and tests alone.

    .. math:: \ell = a + (b - a) / (1 + e^{-r})

    Arguments:
        latents: The number of latents L.
        lower: The bound :math:`a`.
        upper: The bound :math:`b`.
    """

    def __init__(self, latents: int, lower: float, upper: float) -> None:
        super().__init__()
        self.raw_lengthscale = torch.nn.Parameter(torch.zeros(latents, 1, 1))
        self.raw_lengthscale_constraint = _Bounds(lower, upper)

    @property
    def lengthscale(self) -> Tensor:
        r""":math:`\ell`, shape :math:`(L, 1, 1)`."""
        lower, upper = self._bounds()
        return torch.sigmoid(self.raw_lengthscale) * (upper - lower) + lower

    @lengthscale.setter
    def lengthscale(self, value: Tensor) -> None:
        lower, upper = self._bounds()
        part = (value - lower) / (upper - lower)
        self.raw_lengthscale.data.copy_(torch.log(part) - torch.log(1 - part))

    def _bounds(self) -> tuple[Tensor, Tensor]:
        bounds = self.raw_lengthscale_constraint
        return bounds.lower_bound, bounds.upper_bound


class LengthscaleKernel(TemporalKernel):
    r"""What kernels with a lengthscale :math:`\ell` share: where it is kept, and its bounds.

    The covariances are our own: GPyTorch takes distances from squares, which loses half of the
    digits at short lags.

    Arguments:
        latents: The number of latents L.
        keeper: Has it within its bounds: a :class:`BoundedLengthscale`, or a GPyTorch kernel.
        lengthscale: Initial :math:`\ell` in days, one for all or shape :math:`(L)`.
        learnable: Whether :math:`\ell` takes gradients.
    """

    kind: ClassVar[str]

    def __init__(
        self, latents: int, keeper: Any, lengthscale: float | Tensor, learnable: bool
    ) -> None:
        super().__init__(latents)
        self.gpytorch = keeper
        self.set_lengthscale(lengthscale)
        self.gpytorch.raw_lengthscale.requires_grad_(learnable)

    @property
    def description(self) -> str:
        return self.kind

    @property
    def lengthscale(self) -> Tensor:
        r""":math:`\ell` in days, shape :math:`(L)`."""
        return self._to_days(self.gpytorch.lengthscale.reshape(self.latents))

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
        inside = self._from_days(wanted.clamp(1.001 * SHORTEST, 0.999 * LONGEST))
        self.gpytorch.lengthscale = inside.expand(self.latents)[:, None, None]

    def timescales(self) -> Mapping[str, Tensor]:
        return {self.description: self.lengthscale.detach()}

    def _to_days(self, kept: Tensor) -> Tensor:
        """Turn what GPyTorch calls the lengthscale into days."""
        return kept

    def _from_days(self, days: Tensor) -> Tensor:
        """Turn days into what GPyTorch calls the lengthscale."""
        return days
