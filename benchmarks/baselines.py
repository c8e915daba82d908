"""Unlearned gap filling, one band at a time: what the model has to beat.

Every function takes the whole region at once: ``values`` (pixel, time, band), reflectance, anything
where ``seen`` (pixel, time) is False, ``days`` (time,), and ``query`` (the indices in ``days`` to
fill).
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

LENGTHSCALES = (8.0, 12.0, 18.0, 27.0, 40.0, 60.0, 90.0)
NOISES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
PENALTIES = (1e1, 1e2, 1e3, 1e4, 1e5, 1e6)
STRIDE = 4
Z90 = 1.6448536269514722


@dataclass(frozen=True)
class Filled:
    """Bands filled in at the query times, (pixel, query, band)."""

    mean: Array
    interval: tuple[Array, Array] | None = None
    """Bounds of the 90 % interval of a new look, where the method has one."""


def linear(values: Array, seen: Mask, days: Array, query: NDArray[np.integer]) -> Filled:
    """Interpolate between the clear looks before and after; the nearest one beyond the ends."""
    count = len(days)
    index = np.arange(count)
    before = np.maximum.accumulate(np.where(seen, index, -1), axis=1)[:, query]
    after = np.minimum.accumulate(np.where(seen, index, count)[:, ::-1], axis=1)[:, ::-1][:, query]
    left = np.clip(np.where(before < 0, after, before), 0, count - 1)
    right = np.clip(np.where(after == count, before, after), 0, count - 1)
    span = days[right] - days[left]
    share = np.where(span > 0, (days[query] - days[left]) / np.where(span > 0, span, 1.0), 0.0)
    pixel = np.arange(len(values))[:, None]
    weight = share[..., None].astype(values.dtype)
    return Filled(values[pixel, left] * (1 - weight) + values[pixel, right] * weight)


def whittaker(
    values: Array, seen: Mask, days: Array, query: NDArray[np.integer], penalty: float
) -> Filled:
    """Whittaker's smoother with second differences on a daily grid (Eilers, 2003)."""
    start = np.floor(days[0])
    slot = np.floor(days - start).astype(int)
    length = slot[-1] + 1
    difference = np.diff(np.eye(length), 2, axis=0)
    gram = penalty * (difference.T @ difference)
    bands = np.stack([np.pad(np.diagonal(gram, k), (0, k)) for k in range(3)])
    filled = np.empty((len(values), len(query), values.shape[-1]), np.float32)
    for pixel, (series, mask) in enumerate(zip(values, seen, strict=True)):
        system = bands.copy()
        target = np.zeros((length, values.shape[-1]))
        np.add.at(system[0], slot[mask], 1.0)
        np.add.at(target, slot[mask], series[mask])
        system[0] += 1e-8
        filled[pixel] = solveh_banded(system, target, lower=True)[slot[query]]
    return Filled(filled)


def gaussian_process(
    values: Array,
    seen: Mask,
    days: Array,
    query: NDArray[np.integer],
    lengthscale: float,
    noise: float,
) -> Filled:
    """Exact regression with a Matern-3/2 kernel around the region's mean of each band.

    Arguments:
        lengthscale: In days.
        noise: Variance of the noise as a multiple of the signal's.
    """
    lag = np.abs(days[:, None] - days[None]) * np.sqrt(3.0) / lengthscale
    kernel = torch.from_numpy((1 + lag) * np.exp(-lag)).float()
    mean = values[seen].mean(0)
    signal = values[seen].var(0) / (1 + noise)
    centred = torch.from_numpy(np.where(seen[..., None], values - mean, 0.0)).float()
    mask = torch.from_numpy(seen).float()
    at = torch.from_numpy(np.asarray(query))
    means, variances = [], []
    for rows, weight in zip(centred.split(512), mask.split(512), strict=True):
        system = torch.eye(len(days)) + weight[:, :, None] * kernel * weight[:, None, :] / noise
        factor = torch.linalg.cholesky(system)
        means.append(kernel[at] @ torch.cholesky_solve(rows / noise, factor))
        root = weight[:, :, None] * kernel[:, at] / noise**0.5
        solved = torch.linalg.solve_triangular(factor, root, upper=False)
        variances.append(1 - solved.square().sum(1))
    variance = torch.cat(variances).numpy()[..., None] * signal + noise * signal
    centre, reach = torch.cat(means).numpy() + mean, Z90 * np.sqrt(variance)
    return Filled(centre, (centre - reach, centre + reach))


def squared_error(filled: Filled, truth: Array, valid: Mask) -> Array:
    """Mean squared error of each band over the ``valid`` (pixel, query)."""
    return np.square((filled.mean - truth)[valid]).mean(0)


def choose_penalty(values: Array, seen: Mask, days: Array, hide: NDArray[np.integer]) -> float:
    """The penalty that fills acquisitions ``hide`` of the training period best."""
    left = seen.copy()
    left[:, hide] = False
    some = slice(None, None, STRIDE)
    scores = {
        penalty: squared_error(
            whittaker(values[some], left[some], days, hide, penalty),
            values[some][:, hide],
            seen[some][:, hide],
        ).mean()
        for penalty in PENALTIES
    }
    return min(scores, key=scores.__getitem__)


def best_process(
    values: Array,
    seen: Mask,
    days: Array,
    query: NDArray[np.integer],
    truth: Array,
    valid: Mask,
) -> tuple[Filled, list[tuple[float, float]]]:
    """For each band the process with the least error against ``truth``, and its settings.

    With the held-out truth itself this is the process in hindsight; with training acquisitions
    hidden, a fair choice of settings for :func:`process_with`. Settings are compared on every
    ``STRIDE``-th pixel.
    """
    some = slice(None, None, STRIDE)
    errors = {
        setting: squared_error(
            gaussian_process(values[some], seen[some], days, query, *setting),
            truth[some],
            valid[some],
        )
        for setting in product(LENGTHSCALES, NOISES)
    }
    chosen = [
        min(errors, key=lambda setting: float(errors[setting][band]))
        for band in range(values.shape[-1])
    ]
    return process_with(chosen, values, seen, days, query), chosen


def process_with(
    chosen: list[tuple[float, float]],
    values: Array,
    seen: Mask,
    days: Array,
    query: NDArray[np.integer],
) -> Filled:
    """The per-band process with the settings ``chosen`` for each band."""
    mean, low, high = np.empty((3, len(values), len(query), values.shape[-1]), np.float32)
    for setting in set(chosen):
        bands = [band for band, other in enumerate(chosen) if other == setting]
        filled = gaussian_process(values[..., bands], seen, days, query, *setting)
        assert filled.interval is not None
        mean[..., bands] = filled.mean
        low[..., bands], high[..., bands] = filled.interval
    return Filled(mean, (low, high))
