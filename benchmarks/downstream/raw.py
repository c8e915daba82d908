"""Features without a model of latents: bands of the months, interpolated, whitened, counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["counts", "harmonics", "indices", "interpolated", "logarithms", "whitened"]

Array = NDArray[np.float64]

DARKEST = 1e-3
"""Reflectance below which logarithms are those of it."""

OPTICAL_BANDS = 9
RIDGE = 0.3
WAVES = 2


def logarithms(values: NDArray[np.float32], optical: int = OPTICAL_BANDS) -> Array:
    """Logarithms of reflectance, which the first ``optical`` bands are; decibels are some already.

    (N, month, band).
    """
    out = values.astype(np.float64)
    out[..., :optical] = np.log(np.maximum(out[..., :optical], DARKEST))
    return out


def interpolated(values: Array, known: int, middle: Array) -> Array:
    """Fill what is missing linearly in time, at the ends by the nearest month.

    Args:
        values: NaN where missing, (N, month, band).
        known: Months from the first that features are made of.
        middle: What a pixel has of a band that it never saw, (band,).
    """
    months = np.arange(known)
    out = values[:, :known].copy()
    for pixel, band in zip(*np.nonzero(np.isnan(out).any(axis=1)), strict=True):
        own = out[pixel, :, band]
        seen = np.isfinite(own)
        filled = np.interp(months, months[seen], own[seen]) if seen.any() else middle[band]
        out[pixel, :, band] = filled
    return out


def indices(values: Array) -> Array:
    """Normalised differences and the ratio of radar, of complete bands as logarithms.

    A normalised difference is the hyperbolic tangent of half the difference of logarithms.
    """
    b03, b04, b05, b08, b11, b12 = (values[..., at] for at in (1, 2, 3, 6, 7, 8))
    pairs = ((b08, b04), (b08, b05), (b08, b11), (b08, b12), (b03, b08), (b11, b12))
    found = [np.tanh(0.5 * (one - other)) for one, other in pairs]
    return np.stack([*found, values[..., 10] - values[..., 9]], axis=-1)


def whitened(
    values: Array,
    training: NDArray[np.intp],
    *,
    parts: Sequence[int] = (OPTICAL_BANDS,),
    floor: float = 1e-3,
) -> Array:
    """Bands of a month rotated and scaled, so that over all training months they are white.

    Each sensor by itself; no label is used. (N, month, band).

    Args:
        values: Complete, (N, month, band).
        training: Places of those that are known to begin with.
        parts: Where the bands of the second sensor begin, of the third, ...
        floor: Least variance of an axis beside the largest.
    """
    white = []
    for part in np.split(values, parts, axis=-1):
        rows = part[training].reshape(-1, part.shape[-1])
        centre = rows.mean(axis=0)
        variance, axes = np.linalg.eigh(np.cov(rows - centre, rowvar=False))
        scale = np.sqrt(np.maximum(variance, floor * variance.max() + 1e-12))
        white.append((part - centre) @ axes / scale)
    return np.concatenate(white, axis=-1)


def counts(seen: NDArray[np.bool_]) -> Array:
    """How often each sensor saw a pixel, and the months from each to the nearest seen.

    Args:
        seen: (N, month, sensor).

    Returns:
        (N, sensor + month * sensor).
    """
    months = np.arange(seen.shape[1])
    lag = np.abs(months[:, None] - months[None]).astype(np.float64)
    away = np.where(seen[:, None], lag[None, :, :, None], float(len(months))).min(axis=2)
    return np.concatenate([seen.sum(axis=1), away.reshape(len(seen), -1)], axis=1)


def harmonics(values: Array, middle: Array) -> Array:
    """A level and two waves of the year of each band, by ridge regression on what was seen.

    Args:
        values: NaN where missing, (N, month, band).
        middle: Mean of each band, towards which the level is drawn, (band,).

    Returns:
        (N, 5 band).
    """
    angle = 2.0 * np.pi * np.arange(values.shape[1]) / 12.0
    waves = [own(k * angle) for k in range(1, WAVES + 1) for own in (np.cos, np.sin)]
    design = np.stack([np.ones_like(angle), *waves], axis=1)
    penalty = RIDGE * np.diag([0.1, *(np.repeat(np.arange(1, WAVES + 1), 2) ** 2)])
    weight = np.isfinite(values).astype(np.float64)
    rows = np.where(np.isfinite(values), values - middle, 0.0)
    normal = np.einsum("tj,tk,ntb->nbjk", design, design, weight) + penalty
    right = np.einsum("tj,ntb->nbj", design, rows)
    return np.linalg.solve(normal, right[..., None])[..., 0].reshape(len(values), -1)
