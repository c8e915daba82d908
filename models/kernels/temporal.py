"""What a temporal kernel is: a stationary covariance and the linear SDE with that covariance."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """One term of a kernel, and where its own process lives in the state."""

    name: str
    """Unique among the parts of one kernel."""

    states: slice
    """The states of this part; its process is their measurement."""


class TemporalKernel(nn.Module, ABC):
    r"""Kernels of unit variance over time in days, one for each of L latents.

    The process of every latent is the measurement of a stationary Gaussian Markov state,

    .. math:: f(t) = H x(t), \quad x(t + \tau) = A(\tau) x(t) + \epsilon, \quad
        \epsilon \sim N(0, Q(\tau)), \quad x(t) \sim N(0, P_\infty)

    so that :math:`k(\tau) = H A(\tau) P_\infty H^T`. The states of a derivative are scaled by its
    rate, so that all have comparable variance. What is returned is float64 whatever the dtype of
    the parameters: it has the size of a calendar, not of the data, and short steps need it.

    References:
        | Kalman filtering and smoothing solutions to temporal Gaussian process
        | regression models (Hartikainen & Särkkä, 2010)

    Arguments:
        latents: The number of latents L.
    """

    def __init__(self, latents: int) -> None:
        super().__init__()
        if latents < 1:
            raise ValueError(f"A kernel needs at least one latent, got {latents}.")
        self.latents = latents

    @property
    @abstractmethod
    def description(self) -> str:
        """What :func:`~terralatent.models.kernels.make_kernel` builds this kernel from."""

    @property
    @abstractmethod
    def state_dim(self) -> int:
        """The number of states n."""

    @abstractmethod
    def covariance(self, lag: Tensor) -> Tensor:
        """Return k at ``lag`` in days, of any sign and shape :math:`(*)`, as :math:`(*, L)`."""

    def part_covariance(self, lag: Tensor) -> Tensor:
        """Return the share of each part in the covariance, weights included.

        Arguments:
            lag: In days, of any sign and shape :math:`(*)`.

        Returns:
            Shape :math:`(*, L, parts)`, float64; its sum over the parts is :meth:`covariance`.
        """
        return self.covariance(lag)[..., None]

    @abstractmethod
    def stationary(self) -> Tensor:
        r"""Return the stationary covariance :math:`P_\infty`, shape :math:`(L, n, n)`."""

    @abstractmethod
    def transition(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        r"""Carry the state over the gaps between dates.

        Arguments:
            steps: Gaps in days, not negative, shape :math:`(S)`, float64.

        Returns:
            The transitions :math:`A` and the process noise :math:`Q`, both with shape
            :math:`(S, L, n, n)`, with small relative error however short the gap.
        """

    @abstractmethod
    def measurement(self) -> Tensor:
        """Return H, of zeros and ones, the first a one, shape :math:`(L, n)`."""

    @abstractmethod
    def timescales(self) -> Mapping[str, Tensor]:
        """Return for each part its lengthscale in days, shape :math:`(L)`.

        That of a constant is inf, that of white noise 0, that of a product the shortest of its
        factors that decay.
        """

    @abstractmethod
    def part_features(
        self, days: Tensor, span: tuple[float, float], count: int
    ) -> tuple[Tensor, ...]:
        r"""Return a basis for each part: :math:`\Phi_i \Phi_i^T` approximates its covariance.

        Constants, periodic kernels and white noise are exact whatever ``count``. The columns of
        white noise are the distinct days of this call, so whoever needs features on two calendars
        asks for both at once.

        Arguments:
            days: Where to evaluate, in any order, shape :math:`(S)`, float64.
            span: The first and the last day that the basis must cover. Beyond it bases of Matérn
                kernels fade, within a few lengthscales, to zero.
            count: The number of basis functions of each Matérn kernel.

        Returns:
            One tensor of shape :math:`(S, L, M_i)` for each of :attr:`parts`, float64, with the
            roots of the weights.

        Raises:
            ValueError: If a part that needs functions finds ``count`` less than one.
        """

    def features(self, days: Tensor, span: tuple[float, float], count: int) -> Tensor:
        r"""Return :meth:`part_features` side by side, shape :math:`(S, L, M)`."""
        return torch.cat(self.part_features(days, span, count), dim=-1)

    @property
    def needs_double(self) -> bool:
        """Whether float32 is too coarse to filter its states beside precisions of 1e4.

        So it is where states turn without noise: what a precise site takes from their covariance
        then is all but the whole of it, over and over (measured for a periodic kernel and data that
        do not repeat: means wrong by 5e-4, KL by 5 %).
        """
        return False

    @property
    def parts(self) -> tuple[Part, ...]:
        """The terms of the kernel, in the order of their states."""
        return (Part(self.description, slice(0, self.state_dim)),)
