"""A Gaussian process for each band whose settings are chosen on the truth itself.

Nobody could choose so. It is what every method's error is a share of: how well a method without
other bands, other sensors and other pixels could have done.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gapfill.cubes import PixelObservations
from benchmarks.gapfill.holdouts import Rotation
from benchmarks.gapfill.scoring import Predicted
from terralatent.models.baselines.unlearned.gp import LENGTHSCALES, NOISES, band_process

__all__ = ["in_hindsight"]

STRIDE = 4
"""Settings are compared on every so many-th pixel."""

CHUNK = 1024
Z90 = 1.6448536269514722


def in_hindsight(
    observations: PixelObservations, rotation: Rotation, counted: NDArray[np.bool_]
) -> Predicted:
    """Predict the scored observations by the pair of lengthscale and noise that, band by band, has
    the least error on those of them that are ``counted``, (pixel, time); computes."""
    scored = list(rotation.scored)
    seen = observations.clear.copy()
    seen[:, list(rotation.hidden)] = False
    some = slice(None, None, STRIDE)
    clear = counted[some][:, scored]
    truth = observations.values[some][:, scored]
    settings = list(product(LENGTHSCALES, NOISES))
    bands = np.arange(len(observations.bands))
    errors = [
        np.square(_fill(observations, seen, scored, *setting, bands, some)[0] - truth)[clear].mean(
            0
        )
        for setting in settings
    ]
    best = np.argmin(errors, axis=0)
    shape = (len(seen), len(scored), len(bands))
    mean, signal, noise = (np.empty(shape) for _ in range(3))
    for place in np.unique(best):
        chosen = np.flatnonzero(best == place)
        parts = _fill(observations, seen, scored, *settings[place], chosen, slice(None))
        mean[..., chosen], signal[..., chosen], noise[..., chosen] = parts
    reach = Z90 * np.sqrt(signal + noise)
    return Predicted(mean, signal, noise, mean - reach, mean + reach)


def _fill(
    observations: PixelObservations,
    seen: NDArray[np.bool_],
    scored: list[int],
    lengthscale: float,
    noise: float,
    bands: NDArray[np.integer],
    pixels: slice,
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Mean, variance of the surface and of the noise, about the region's mean of each band; their
    sum is the region's variance where there is no observation."""
    known = observations.values[..., bands][seen]
    level, signal = known.mean(0), known.var(0, dtype=np.float64) / (1 + noise)
    values = torch.from_numpy(observations.values[pixels][..., bands] - level)
    mask = torch.from_numpy(seen[pixels])
    days, query = torch.from_numpy(observations.days), torch.from_numpy(observations.days[scored])
    parts = [
        band_process(series, clear, days, query, lengthscale, noise)
        for series, clear in zip(values.split(CHUNK), mask.split(CHUNK), strict=True)
    ]
    mean = torch.cat([part for part, _ in parts]).numpy() + level
    share = torch.cat([part for _, part in parts]).numpy()
    return mean, share * signal, np.broadcast_to(noise * signal, mean.shape)
