"""The sum of kernels: independent processes that a series adds up."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from terralatent.models.kernels.temporal import Part, TemporalKernel


class Sum(TemporalKernel):
    r"""A weighted sum of unit-variance kernels that has unit variance again.

    .. math:: k(\tau) = \sum_i \pi_i k_i(\tau), \quad \pi_i > 0, \quad \sum_i \pi_i = 1

    The state is that of all parts, block by block, each with the variance :math:`\pi_i` of its
    part; the measurement adds the parts' measurements.

    Arguments:
        parts: The kernels, all with the same number of latents.
        weights: Initial :math:`\pi`, shape :math:`(I)` or :math:`(L, I)`; equal if None.
        learnable: Whether :math:`\pi` takes gradients.
    """

    def __init__(
        self,
        parts: Sequence[TemporalKernel],
        weights: Tensor | None = None,
        learnable: bool = True,
    ) -> None:
        if len({part.latents for part in parts}) != 1:
            raise ValueError(
                "A sum needs one or more kernels with the same number of latents, got "
                f"{[part.latents for part in parts]}."
            )
        super().__init__(parts[0].latents)
        self.terms = nn.ModuleList(parts)
        self.raw_weights = nn.Parameter(torch.zeros(self.latents, len(parts)), learnable)
        if weights is not None:
            self.set_weights(weights)

    @property
    def _terms(self) -> tuple[TemporalKernel, ...]:
        return tuple(cast(TemporalKernel, term) for term in self.terms)

    @property
    def description(self) -> str:
        return "+".join(term.description for term in self._terms)

    @property
    def needs_double(self) -> bool:
        return any(term.needs_double for term in self._terms)

    @property
    def state_dim(self) -> int:
        return sum(term.state_dim for term in self._terms)

    @property
    def weights(self) -> Tensor:
        r""":math:`\pi`, shape :math:`(L, I)`, float64."""
        return torch.softmax(self.raw_weights.double(), dim=-1)

    def set_weights(self, weights: Tensor) -> None:
        r"""Set :math:`\pi`, shape :math:`(I)` or :math:`(L, I)`; scaled to sum to one.

        Raises:
            ValueError: If a weight is not positive, or the shape is another.
        """
        shape = self.raw_weights.shape
        weights = torch.as_tensor(weights).to(self.raw_weights)
        if weights.shape not in (shape, shape[1:]):
            raise ValueError(
                f"Weights of {shape[0]} latents and {shape[1]} parts cannot have shape "
                f"{tuple(weights.shape)}; give {tuple(shape[1:])} or {tuple(shape)}."
            )
        if not bool(((weights > 0) & weights.isfinite()).all()):
            raise ValueError(
                f"Weights of a sum must be positive and finite, got {weights.tolist()}; "
                "clamp them, or leave the part out."
            )
        with torch.no_grad():
            self.raw_weights.copy_((weights / weights.sum(-1, keepdim=True)).log().expand(shape))

    @property
    def parts(self) -> tuple[Part, ...]:
        parts: list[Part] = []
        start = 0
        for term in self._terms:
            for part in term.parts:
                width = part.states.stop - part.states.start
                twins = sum(other.name.partition("-")[0] == part.name for other in parts)
                name = f"{part.name}-{twins + 1}" if twins else part.name
                parts.append(Part(name, slice(start, start + width)))
                start += width
        return tuple(parts)

    def timescales(self) -> Mapping[str, Tensor]:
        days = [scale for term in self._terms for scale in term.timescales().values()]
        return dict(zip([part.name for part in self.parts], days, strict=True))

    def covariance(self, lag: Tensor) -> Tensor:
        terms = torch.stack([term.covariance(lag) for term in self._terms], dim=-1)
        return (terms * self.weights).sum(-1)

    def part_covariance(self, lag: Tensor) -> Tensor:
        weights = self.weights
        shares = [
            term.part_covariance(lag) * weights[:, i, None] for i, term in enumerate(self._terms)
        ]
        return torch.cat(shares, dim=-1)

    def part_features(
        self, days: Tensor, span: tuple[float, float], count: int
    ) -> tuple[Tensor, ...]:
        roots = self.weights.sqrt()
        return tuple(
            features * roots[:, i, None]
            for i, term in enumerate(self._terms)
            for features in term.part_features(days, span, count)
        )

    def stationary(self) -> Tensor:
        return self._blocks([term.stationary() for term in self._terms], weighted=True)

    def transition(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        a, q = zip(*(term.transition(steps) for term in self._terms), strict=True)
        return self._blocks(a, weighted=False), self._blocks(q, weighted=True)

    def measurement(self) -> Tensor:
        return torch.cat([term.measurement() for term in self._terms], dim=-1)

    def _blocks(self, blocks: Sequence[Tensor], *, weighted: bool) -> Tensor:
        """Lay (..., L, n_i, n_i) on one diagonal, multiplied by the weights if wanted."""
        weights = self.weights
        rows, start = [], 0
        for i, block in enumerate(blocks):
            width = block.shape[-1]
            if weighted:
                block = block * weights[:, i, None, None]
            rows.append(nn.functional.pad(block, (start, self.state_dim - start - width)))
            start += width
        return torch.cat(rows, dim=-2)
