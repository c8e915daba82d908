"""The constant kernel: a level that a series keeps for ever."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.kernels.single_state import SingleState


class Constant(SingleState):
    r"""A process that never changes: :math:`k(\tau) = 1`, :math:`A = 1`, :math:`Q = 0`.

    Arguments:
        latents: The number of latents L.
    """

    kind: ClassVar[str] = "constant"

    def covariance(self, lag: Tensor) -> Tensor:
        return self.anchor.double().expand(*lag.shape, self.latents)

    def transition(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        kept = self.anchor.double()[:, None, None].expand(len(steps), -1, -1, -1)
        return kept, torch.zeros_like(kept)

    def timescales(self) -> Mapping[str, Tensor]:
        return {self.kind: torch.full_like(self.anchor, torch.inf)}

    def part_features(
        self, days: Tensor, span: tuple[float, float], count: int
    ) -> tuple[Tensor, ...]:
        return (self.anchor.double()[:, None].expand(len(days), -1, -1),)
