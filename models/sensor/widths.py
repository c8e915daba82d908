r"""Factors of intervals that belong to one place, and what they do to variances.

They stand beside those of training and move no mean: for each band one of the noise and one of the
surface, the latter times a power of how much is known, and for each latent one of its standard
deviation.
"""

from __future__ import annotations

from torch import Tensor

__all__ = [
    "LARGEST_POWER",
    "LEAST_OPEN",
    "LOCAL_RANGE",
    "OPEN",
    "WIDTHS",
    "is_local",
    "tempered",
]

LOCAL_RANGE = (0.04, 25.0)
"""Bounds of the factors of bands, which are of variances."""

LARGEST_POWER = 0.9
"""Largest power of the openness in such a factor, either way; below 1, so that the surface's
variance never falls where less is known."""

OPEN = 0.1
"""Share of a surface's prior variance at which a power changes nothing."""

LEAST_OPEN = 1e-3
"""Shares below this count as this."""

LOCAL = ("local_noise", "local_signal", "local_power", "local_std")
"""Buffers that belong to one place."""

WIDTHS = ("noise_factor", "signal_factor", *LOCAL)
"""Buffers that widths of intervals depend on, and no mean."""


def is_local(name: str) -> bool:
    """Whether an entry of ``state_dict`` belongs to one place."""
    return name.rpartition(".")[2] in LOCAL


def tempered(variance: Tensor, factor: Tensor) -> Tensor:
    r"""Return variances of latents where what observations add to the prior counts less.

    .. math:: 1 / v' - 1 = (1 / v - 1) / f^2

    A small variance is multiplied by f squared; that of the prior, 1, stays.

    Args:
        variance: v, 0 to 1, shape (\*, L).
        factor: f, positive, shape (L,) or ().
    """
    square = factor.square()
    return square * variance / (1.0 + (square - 1.0) * variance)
