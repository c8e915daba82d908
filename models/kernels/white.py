"""The white kernel: what belongs to one moment alone."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.kernels.single_state import SingleState


class White(SingleState):
    r"""A process without memory: :math:`k(\tau) = 1` if :math:`\tau = 0`, else 0; one state.

    .. math:: A(0) = 1, \quad Q(0) = 0, \qquad A(\tau) = 0, \quad Q(\tau) = 1 \quad (\tau > 0)

    Two days are the same moment if they are equal as float64 numbers: observations of one moment
    share their value, and a minute later it is a new one. It is not noise of the observations,
    which the precisions hold.

    Arguments:
        latents: The number of latents L.
    """

    kind: ClassVar[str] = "white"

    def covariance(self, lag: Tensor) -> Tensor:
        return (lag == 0)[..., None] * self.anchor.double()

    def transition(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.covariance(steps)[..., None, None]
        return kept, 1.0 - kept

    def timescales(self) -> Mapping[str, Tensor]:
        return {self.kind: torch.zeros_like(self.anchor)}

    def part_features(
        self, days: Tensor, span: tuple[float, float], count: int
    ) -> tuple[Tensor, ...]:
        same = days[:, None] == torch.unique(days)
        return (same[:, None, :] * self.anchor.double()[:, None],)
