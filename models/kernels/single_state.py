"""What kernels without parameters share: a state that is the series itself, of variance one."""

from abc import ABC
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel


class SingleState(TemporalKernel, ABC):
    r"""A kernel of one state and no parameter: :math:`H = 1`, :math:`P_\infty = 1`.

    Arguments:
        latents: The number of latents L.
    """

    kind: ClassVar[str]
    anchor: Tensor

    def __init__(self, latents: int) -> None:
        super().__init__(latents)
        # Without parameters, something must still say on which device the kernel lives.
        self.register_buffer("anchor", torch.ones(latents), persistent=False)

    @property
    def description(self) -> str:
        return self.kind

    @property
    def state_dim(self) -> int:
        return 1

    def stationary(self) -> Tensor:
        return self.anchor.double()[:, None, None]

    def measurement(self) -> Tensor:
        return self.anchor.double()[:, None]
