"""What a temporal kernel is: a stationary covariance and the linear SDE with that covariance."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

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
        """The kinds of the parts joined by ``+``, as :func:`make_kernel` takes them."""

    @property
    @abstractmethod
    def state_dim(self) -> int:
        """The number of states n."""

    @abstractmethod
    def covariance(self, lag: Tensor) -> Tensor:
        """Return k at ``lag`` in days, of any sign and shape :math:`(*)`, as :math:`(*, L)`."""

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
        """Return for each part its lengthscale in days, shape :math:`(L)`; inf for a constant."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The terms of the kernel, in the order of their states."""
        return (Part(self.description, slice(0, self.state_dim)),)
