"""Moments of decoded latents over all nodes in one pass, in the Python that numba compiles.

Rows of latents are the lanes of vector instructions. Compiled as source, so they use nothing but
numpy, the loops of :mod:`terralatent.models.sensor.lanes` and the names in ``GIVEN``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from terralatent.models.sensor.lanes import LANES, exponential, logistic, multiply
from terralatent.models.sensor.networks import INPUT_LIMIT, LOG_DIAG_RANGE

Array = npt.NDArray[Any]

LOWEST, HIGHEST = LOG_DIAG_RANGE
GIVEN = {"INPUT_LIMIT": INPUT_LIMIT, "LOWEST": LOWEST, "HIGHEST": HIGHEST}
"""All that the loops take from elsewhere, beside those of ``lanes``."""


def decode_all(
    mean: Array,
    variance: Array,
    seasons: Array,
    nodes: Array,
    linear: Array,
    first: Array,
    second: Array,
    location: Array,
    covariance: Array,
    diagonal: Array,
) -> None:
    """Average the decoder over latents at all nodes and at their negatives.

    A latent takes two values over all nodes, so that the first layer's part of their middle is
    computed once, and that of a node serves its negative too.

    Args:
        mean: (R, L).
        variance: (R, L).
        seasons: Sine, cosine and whether they are known, of row r at r modulo Q, (Q, 3).
        nodes: 1 or -1; the other half are their negatives, (I, L).
        linear: Of bands by latents, and the constant, padded as all that follow, (B', L' + 1).
        first: Layer of the network, by latents and season, (H', K' + 1).
        second: The next, shifts and then logarithms of the diagonal, (2 B', H' + 1).
        location: Mean of the location, (R, B); written.
        covariance: Diagonal of its covariance, (R, B); written.
        diagonal: Mean diagonal of the scale matrix, (R, B); written.
    """
    rows, latents = mean.shape
    bands, half, size = location.shape[1], len(linear), linear.shape[1] - 1
    count = np.float32(2 * len(nodes))
    given = np.zeros((first.shape[1] - 1, LANES), np.float32)
    level = np.zeros((size, LANES), np.float32)
    spread = np.zeros((size, LANES), np.float32)
    moved = np.zeros((size, LANES), np.float32)
    hidden = np.zeros((len(first), LANES), np.float32)
    base = np.zeros((len(first), LANES), np.float32)
    own = np.zeros((len(first), LANES), np.float32)
    made = np.zeros((2 * half, LANES), np.float32)
    centre = np.zeros((half, LANES), np.float32)
    away = np.zeros((half, LANES), np.float32)
    plain = np.zeros((half, LANES), np.float32)
    sums = np.zeros((3, half, LANES), np.float32)
    straight, of_latents = linear.copy(), np.zeros((len(first), size + 1), np.float32)
    straight[:, size] = 0
    of_latents[:, :latents] = first[:, :latents]
    for start in range(0, rows, LANES):
        lanes = min(LANES, rows - start)
        take(start, lanes, mean, variance, seasons, level, spread, given)
        # What is decoded at the mean is taken from all nodes, so that rounding loses nothing.
        multiply(first, given, hidden, False)
        activate(hidden)
        multiply(second, hidden, made, False)
        plain[:] = made[:half]
        for k in range(latents):
            for m in range(LANES):
                low, high = clip(level[k, m] - spread[k, m]), clip(level[k, m] + spread[k, m])
                given[k, m] = np.float32(0.5) * (high + low)
        multiply(first, given, base, False)
        sums[:] = 0
        for i in range(len(nodes)):
            for k in range(latents):
                for m in range(LANES):
                    moved[k, m] = nodes[i, k] * spread[k, m]
            multiply(straight, moved, away, False)
            for k in range(latents):
                for m in range(LANES):
                    low, high = clip(level[k, m] - spread[k, m]), clip(level[k, m] + spread[k, m])
                    moved[k, m] = nodes[i, k] * np.float32(0.5) * (high - low)
            multiply(of_latents, moved, own, False)
            for side in range(2):
                sign = np.float32(1 - 2 * side)
                for h in range(len(first)):
                    for m in range(LANES):
                        hidden[h, m] = base[h, m] + sign * own[h, m]
                activate(hidden)
                multiply(second, hidden, made, False)
                add(sign, made, away, plain, sums)
        multiply(linear, level, centre, False)
        for m in range(lanes):
            for b in range(bands):
                off = sums[0, b, m] / count
                location[start + m, b] = centre[b, m] + plain[b, m] + off
                covariance[start + m, b] = sums[1, b, m] / count - off * off
                diagonal[start + m, b] = sums[2, b, m] / count


def take(
    start: int,
    lanes: int,
    mean: Array,
    variance: Array,
    seasons: Array,
    level: Array,
    spread: Array,
    given: Array,
) -> None:
    """Give rows from ``start`` on a lane each: mean, deviation, and what a network sees."""
    latents = mean.shape[1]
    for m in range(lanes):
        row = start + m
        for k in range(latents):
            level[k, m] = mean[row, k]
            spread[k, m] = np.sqrt(max(variance[row, k], np.float32(0)))
        for k in range(seasons.shape[1]):
            given[latents + k, m] = seasons[row % len(seasons), k]
    for k in range(latents):
        for m in range(LANES):
            given[k, m] = clip(level[k, m])


def clip(value: Any) -> Any:
    """A latent as a network sees it."""
    return min(max(value, -np.float32(INPUT_LIMIT)), np.float32(INPUT_LIMIT))


def activate(hidden: Array) -> None:
    """Replace numbers x by x times their logistic function (SiLU)."""
    for h in range(len(hidden)):
        for m in range(LANES):
            hidden[h, m] *= logistic(hidden[h, m])


def add(sign: Any, made: Array, away: Array, plain: Array, sums: Array) -> None:
    """Add what is decoded at a node to the sums of offsets, their squares, and diagonals."""
    half = len(plain)
    for b in range(half):
        shift, log = made[b], made[half + b]
        for m in range(LANES):
            off = shift[m] - plain[b, m] + sign * away[b, m]
            sums[0, b, m] += off
            sums[1, b, m] += off * off
            bounded = min(max(log[m], np.float32(LOWEST)), np.float32(HIGHEST))
            sums[2, b, m] += exponential(bounded)


LOOPS = (decode_all, take, clip, activate, add)
"""What is compiled, after those of ``lanes``."""
