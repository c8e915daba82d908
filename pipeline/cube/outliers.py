r"""Observations that no neighbour in time supports: clouds, shadows, haze that the mask let pass.

An observation of a pixel is compared with its two clear ones before and its two after, those within
30 days. They span a range; what lies within is supported by one of them, so a step stays (harvest,
flood: what comes after is like it), and so does whatever was seen twice. How far an observation
lies outside is measured in robust standard deviations :math:`s_b` of the pixel's own series, by
band: the median absolute deviation of its observations from the middle two of their four
neighbours. With :math:`d_b` the distance from the range, an observation is an outlier where

.. math:: \sqrt{\overline{(d_b / s_b)^2}} > 2.5

over the bands, all of which count alike. A pixel is judged by itself, so that no tiling shows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["find_outliers"]

WINDOW_DAYS = 30.0
"""How far away an observation may be to support another one."""

FAR = 2.5
"""Robust standard deviations, root mean square over bands, from which an observation is an outlier.
Of what was truly clear in four simulated regions that is one in a thousand
(benchmarks/simulation/outliers.py)."""

FEWEST = 10
"""Observations with neighbours on both sides that a pixel needs: fewer do not give its spread."""

LEAST_SPREAD = 10.0
"""Steps of the packing below which no spread counts: 0.001 in reflectance, 0.1 dB."""

VALUES = 2_000_000
"""Values that are worked on at once: bounds the memory beside the arguments to some 100 MB."""


def find_outliers(
    packed: NDArray[np.integer], observed: NDArray[np.bool_], days: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Find the observations of one sensor that no neighbour in time supports. Computes.

    Args:
        packed: Integers as the cube stores them, (N, T, B).
        observed: Which of them are clear and have data in all bands, (N, T); the others are neither
            judged nor neighbours.
        days: Ascending, (T,).

    Returns:
        Some of ``observed``, (N, T).
    """
    outliers = np.zeros(observed.shape, dtype=bool)
    size = max(1, VALUES // max(1, packed[:1].size))
    for start in range(0, len(observed), size):
        some = slice(start, start + size)
        if observed[some].any():
            outliers[some] = _judge(packed[some], observed[some], days)
    return outliers


def _judge(
    packed: NDArray[np.integer], observed: NDArray[np.bool_], days: NDArray[np.float64]
) -> NDArray[np.bool_]:
    count = observed.sum(axis=1)
    # A pixel's observations in a row, without the dates between; what follows them is empty.
    order = np.argsort(~observed, axis=1, kind="stable")[:, : count.max()]
    there = np.arange(order.shape[1]) < count[:, None]
    values = np.take_along_axis(packed, order[:, :, None], axis=1).astype(np.float32)
    lowest, highest, total, judged = _neighbours(values, np.where(there, days[order], np.nan))
    judged &= there

    middle = 0.5 * (total - lowest - highest)
    outside = np.maximum(values - highest, 0.0) + np.maximum(lowest - values, 0.0)
    scaled = outside / _spread(np.abs(values - middle), judged)
    unsupported = judged & (np.sqrt(np.square(scaled).mean(axis=2)) > FAR)
    outliers = np.zeros(observed.shape, dtype=bool)
    np.put_along_axis(outliers, order, unsupported, axis=1)
    return outliers


def _neighbours(
    values: NDArray[np.float32], days: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """The lowest, the highest and the sum of each observation's four neighbours, (n, K, B).

    One that is too far away, or not there, is replaced by the one between; the last that is
    returned says where an observation has neighbours on both sides, (n, K).
    """
    steps = values.shape[1]
    around = np.pad(values, ((0, 0), (2, 2), (0, 0)))
    when = np.pad(days, ((0, 0), (2, 2)), constant_values=np.nan)
    judged = np.ones(days.shape, dtype=bool)
    four = []
    for side in (-1, 1):
        near, next_to = (slice(2 + far, 2 + far + steps) for far in (side, 2 * side))
        judged &= np.abs(when[:, near] - days) <= WINDOW_DAYS
        close = np.abs(when[:, next_to] - days) <= WINDOW_DAYS
        four += [around[:, near], np.where(close[:, :, None], around[:, next_to], around[:, near])]
    lowest, highest = np.minimum.reduce(four), np.maximum.reduce(four)
    return lowest, highest, np.add.reduce(four), judged


def _spread(deviation: NDArray[np.float32], judged: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Robust standard deviation by pixel and band, (n, 1, B); infinite where too few are judged."""
    count = judged.sum(axis=1)
    ordered = np.sort(np.where(judged[:, :, None], deviation, np.inf), axis=1)
    median = np.take_along_axis(
        ordered, (count // 2).clip(max=deviation.shape[1] - 1)[:, None, None], 1
    )
    spread = np.maximum(1.4826 * median, LEAST_SPREAD)
    return np.where((count >= FEWEST)[:, None, None], spread, np.float32(np.inf))
