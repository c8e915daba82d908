"""Temporal kernels: each with its covariance and, beside it, its closed-form state-space model."""

from terralatent.models.kernels.constant import Constant
from terralatent.models.kernels.matern import Matern12, Matern32
from terralatent.models.kernels.sums import Sum
from terralatent.models.kernels.temporal import TemporalKernel

__all__ = [
    "Constant",
    "Matern12",
    "Matern32",
    "Sum",
    "TemporalKernel",
    "default_kernel",
    "make_kernel",
]

KINDS: dict[str, type[Constant] | type[Matern12] | type[Matern32]] = {
    kind.kind: kind for kind in (Constant, Matern12, Matern32)
}


def make_kernel(description: str, latents: int) -> TemporalKernel:
    """Build a kernel from its :attr:`~TemporalKernel.description`, with its initial parameters.

    Arguments:
        description: Kinds joined by ``+``, such as ``"constant+matern32"``.
        latents: The number of latents L, each with parameters of its own.

    Raises:
        ValueError: If a kind is unknown.
    """
    kinds = [kind.strip() for kind in description.split("+")]
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(
                f"Unknown kernel {kind!r} in {description!r}; "
                f"join some of {sorted(KINDS)} with '+'."
            )
    parts = [KINDS[kind](latents) for kind in kinds]
    return parts[0] if len(parts) == 1 else Sum(parts)


def default_kernel(latents: int) -> TemporalKernel:
    """Return constant + Matérn-3/2: a pixel's own level, and what happens around it (state 3)."""
    return make_kernel("constant+matern32", latents)
