r"""How good a prediction and its uncertainty are: scores of every value, summed by cells.

A prediction of a value is one form for all methods: a Gaussian surface plus noise that is a mixture
of Gaussians, so that the value is

.. math:: y \sim \sum_k \pi_k\, N(m,\, s + n / \tau_k)

with s the variance of the surface and n the squared scale of the noise. Gaussian methods have one
node, tau = 1; the Student-t has many. Everything is computed for u = (y - m) / sqrt(s + n), whose
law depends on the share n / (s + n) only. The 90 % predictive interval is the method's own
(its 5 and 95 % quantiles); densities, CRPS and other levels come from the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["GAPS", "GAUSSIAN", "LEVELS", "MEASURES", "Predicted", "cells", "value_scores"]

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

MEASURES = ("n", "square", "absolute", "nll", "crps", "interval", "in50", "in90", "width90")
"""What is summed in a cell: the count, and scores of values in reflectance and nats."""

GAPS = ("0 to 2", "2 to 5", "5 to 10", "10 to 20", "over 20")
GAP_EDGES = (2.0, 5.0, 10.0, 20.0)
"""Classes of the days to the nearest clear optical observation."""

LEVELS = 20
"""Steps of the nominal coverage at which the observed coverage is kept."""

ALPHA = 0.1
SHARES = 257
ROWS = 32768
LEAST_WEIGHT = 1e-9

GAUSSIAN = (np.ones(1), np.ones(1))
"""Nodes tau and weights of a method without heavy tails."""


@dataclass(frozen=True)
class Predicted:
    """A prediction of values, each array (pixel, time, band), reflectance."""

    mean: Array
    """Expected surface and expected new observation."""

    signal: Array
    """Variance of the surface."""

    noise: Array
    """Squared scale of the noise: its variance is this times the mean of 1 / tau."""

    low: Array
    """5 % quantile of a new observation."""

    high: Array
    """95 % quantile of a new observation."""

    mixture: tuple[Array, Array] = GAUSSIAN
    """Nodes tau and weights, each (K,); the weights add to one."""


def cells(
    predicted: Predicted,
    truth: Array,
    clear: Mask,
    clean: Mask,
    kinds: NDArray[np.integer],
    kind_count: int,
    gaps: Array,
) -> dict[str, Any]:
    """Sum the scores of all clear values by truth, kind of hold-out, gap and band.

    Args:
        predicted: (pixel, time, band).
        truth: (pixel, time, band).
        clear: Which observations count, (pixel, time).
        clean: Those of them that are clean truth too, (pixel, time).
        kinds: How each acquisition was hidden, 0 to ``kind_count`` - 1, (time,).
        kind_count: How many ways there are.
        gaps: Days to the nearest clear observation, (pixel, time).

    Returns:
        ``sums``: for each of ``MEASURES`` lists of shape (truth, kind, gap, band), truth being all
        and clean; ``central``: counts of values by the level of the smallest central interval that
        holds them, (truth, gap, LEVELS).
    """
    bands = truth.shape[-1]
    pixel, time = np.nonzero(clear)
    shape = (kind_count, len(GAPS), bands)
    place = (kinds[time] * len(GAPS) + np.digitize(gaps[pixel, time], GAP_EDGES)) * bands
    where = (place[:, None] + np.arange(bands)).ravel()
    scores = value_scores(predicted, truth, pixel, time)
    level = np.minimum((scores.pop("central") * LEVELS).astype(int), LEVELS - 1).ravel()
    gap = np.digitize(gaps[pixel, time], GAP_EDGES).repeat(bands)
    sums: dict[str, list[Any]] = {name: [] for name in MEASURES}
    central = []
    for counts in (np.ones(where.shape, bool), clean[pixel, time].repeat(bands)):
        for name in MEASURES:
            weight = scores[name].ravel()[counts] if name != "n" else None
            summed = np.bincount(where[counts], weight, minlength=math.prod(shape))
            sums[name].append(summed.reshape(shape).tolist())
        flat = gap[counts] * LEVELS + level[counts]
        counted = np.bincount(flat, minlength=len(GAPS) * LEVELS)
        central.append(counted.reshape(len(GAPS), LEVELS).tolist())
    return {"sums": sums, "central": central}


def value_scores(
    predicted: Predicted, truth: Array, pixel: NDArray[np.integer], time: NDArray[np.integer]
) -> dict[str, Array]:
    """Scores of single values, each (observation, band): those of ``MEASURES``, and ``central``,
    the level of the smallest central interval that holds the value, 0 to 1."""
    value = truth[pixel, time]
    mean, low, high = (a[pixel, time] for a in (predicted.mean, predicted.low, predicted.high))
    error = value - mean
    total = (predicted.signal + predicted.noise)[pixel, time]
    share = predicted.noise[pixel, time] / total
    scale = np.sqrt(total)
    density, crps, central = standard_scores(error / scale, share, predicted.mixture)
    miss = np.maximum(low - value, 0) + np.maximum(value - high, 0)
    return {
        "square": np.square(error),
        "absolute": np.abs(error),
        "nll": np.log(scale) - density,
        "crps": scale * crps,
        "interval": high - low + 2 / ALPHA * miss,
        "in50": (central <= 0.5).astype(float),
        "in90": (miss == 0).astype(float),
        "width90": high - low,
        "central": central,
    }


def standard_scores(
    u: Array, share: Array, mixture: tuple[Array, Array]
) -> tuple[Array, Array, Array]:
    r"""Log density, CRPS and central level of u under the law of scale 1, each of u's shape.

    The CRPS of a mixture with one centre is (Grimit et al., 2006)

    .. math:: \sum_k \pi_k A(u, v_k) - \tfrac12 \sum_{jk} \pi_j \pi_k A(0, v_j + v_k),
        \quad A(u, v) = 2 \sqrt v\, \varphi(u / \sqrt v) + u (2 \Phi(u / \sqrt v) - 1)

    and its second part depends on the share alone: tabulated, linear between its entries.
    """
    tau, weight = (torch.from_numpy(np.asarray(part, dtype=np.float64)) for part in mixture)
    kept = weight > LEAST_WEIGHT
    tau, weight = tau[kept], weight[kept] / weight[kept].sum()
    table = _spread_table(tau, weight)
    columns: tuple[list[Tensor], ...] = ([], [], [])
    for part, portion in _rows(u, share):
        variance = (1 - portion) + portion / tau
        root = variance.sqrt()
        away = part / root
        bell = torch.exp(-0.5 * away.square()) / math.sqrt(2 * math.pi)
        inside = 2 * torch.special.ndtr(away) - 1
        at = portion.squeeze(-1) * (SHARES - 1)
        left = at.floor().clamp(0, SHARES - 2).long()
        spread = table[left] + (at - left) * (table[left + 1] - table[left])
        columns[0].append(((bell / root) @ weight).clamp_min(1e-300).log())
        columns[1].append((2 * root * bell + part * inside) @ weight - spread)
        columns[2].append((inside @ weight).abs())
    density, crps, central = (torch.cat(column).reshape(u.shape).numpy() for column in columns)
    return density, crps, central


def _rows(u: Array, share: Array) -> Iterator[tuple[Tensor, Tensor]]:
    """Both as columns (rows, 1), some rows at a time: bounds the memory."""
    flat = torch.from_numpy(np.ascontiguousarray(u, dtype=np.float64)).reshape(-1, 1)
    part = torch.from_numpy(np.ascontiguousarray(share, dtype=np.float64)).reshape(-1, 1)
    return zip(flat.split(ROWS), part.split(ROWS), strict=True)


def _spread_table(tau: Tensor, weight: Tensor) -> Tensor:
    """Half the mean distance of two draws, for shares of the noise from 0 to 1."""
    share = torch.linspace(0, 1, SHARES, dtype=torch.float64).unsqueeze(-1)
    variance = (1 - share) + share / tau
    both = (variance.unsqueeze(-1) + variance.unsqueeze(-2)).sqrt() * math.sqrt(2 / math.pi)
    return 0.5 * torch.einsum("sjk,j,k->s", both, weight, weight)
