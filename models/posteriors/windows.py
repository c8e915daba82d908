r"""Windows of days in a row, as a Markov state that walks over a calendar.

A window is a day and the n - 1 before it, the newest first. It is whitened, :math:`f_W = C_i x_i`
with :math:`K_{WW} = C_i C_i^T`, so that :math:`x \sim N(0, I)` and :math:`f_i` is its first state.
The next day depends on nothing but the window, with :math:`\beta = C_i^{-1} k_W(t_{i+1})` and
:math:`d = 1 - |\beta|^2`, so

.. math:: x_{i+1} = C_{i+1}^{-1} \begin{pmatrix} \beta^T & \sqrt{d} \\ S C_i & 0 \end{pmatrix}
    \begin{pmatrix} x_i \\ \epsilon \end{pmatrix}
    = (A \;\; g) \begin{pmatrix} x_i \\ \epsilon \end{pmatrix}, \quad Q = g g^T, \quad A A^T + Q = I

where S drops the oldest day. Nothing is divided by d, which a gap of a minute makes 1e-13, and no
number is above 1: unlike the values themselves, whose regressions on two days a minute apart have
coefficients of 1e4, this state is one for float32.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from terralatent.models.kernels.temporal import TemporalKernel

WHITE = 1e-10
"""Share of the prior's variance that belongs to one day alone. Without it windows of a constant
kernel, or with days a minute apart, are singular. With 1e-12 means of smooth kernels lose 2e-5 to
rounding beside precisions of 1e4; with this, 2e-6 at most, to the share itself."""


@dataclass(frozen=True)
class Windows:
    """For each of D days, itself and the n - 1 before it, the newest first."""

    near: Tensor
    """Those days, (D, n)."""

    held: Tensor
    """Whether there are that many, (D, n)."""

    factor: Tensor
    """C, (L, D, n, n), float64; the places of days that are not there are independent."""

    @classmethod
    def over(cls, kernel: TemporalKernel, nodes: Tensor, n: int) -> "Windows":
        order = torch.arange(len(nodes), device=nodes.device)
        places = order[:, None] - order[:n]
        near, held = nodes[places.clamp_min(0)], places >= 0
        between = kernel.covariance(near[:, :, None] - near[:, None]).movedim(-1, 0)
        eye = torch.eye(n, dtype=near.dtype, device=near.device)
        both = (held[:, :, None] & held[:, None]) & (eye == 0)
        factor = torch.linalg.cholesky(eye.where(~both, (1.0 - WHITE) * between))
        return cls(near, held, factor)

    def look(self, kernel: TemporalKernel, last: Tensor, days: Tensor, parts: bool) -> Tensor:
        r"""Return :math:`\beta` of S days for the windows of the days ``last``, (L, S, n, J)."""
        cross = covariance(kernel, self.near[last] - days[:, None], parts)
        cross = ((1.0 - WHITE) * cross).where(self.held[last, :, None, None], 0.0)
        factor = self.factor[:, last]
        beta: Tensor = torch.linalg.solve_triangular(factor, cross.permute(2, 0, 1, 3), upper=False)
        return beta

    def moves(self, kernel: TemporalKernel, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return A (D, L, n, n) and g (D, L, n) to each day from the one before; 0 to the first."""
        order = torch.arange(len(nodes) - 1, device=nodes.device)
        beta = self.look(kernel, order, nodes[1:], parts=False).mT
        # The white share keeps d above itself; what is below is rounding.
        d = (1.0 - beta.square().sum(-1, keepdim=True)).clamp_min(WHITE)
        newest = torch.cat([beta, d.sqrt()], dim=-1)
        others = pad(self.factor[:, :-1, :-1], (0, 1))
        both = torch.cat([newest, others], dim=-2)
        both = torch.linalg.solve_triangular(self.factor[:, 1:], both, upper=False)
        # Days a minute apart cost digits; once more, the rows are orthonormal to the last one.
        again = torch.linalg.cholesky(both @ both.mT)
        both = torch.linalg.solve_triangular(again, both, upper=False)
        both = pad(both.transpose(0, 1), (0, 0, 0, 0, 0, 0, 1, 0))
        return both[..., :-1], both[..., -1]


def covariance(kernel: TemporalKernel, lag: Tensor, parts: bool) -> Tensor:
    """Return that of the series or of its parts, (*, L, J)."""
    return kernel.part_covariance(lag) if parts else kernel.covariance(lag)[..., None]
