"""Which of a pixel's observations are in a half."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.halves.sites import PixelSites

__all__ = ["THINNED", "Split", "alternate", "by_acquisition", "splits_by_platform", "thinned"]

THINNED = "thinned"
"""Name of the split of thinned pixels."""

LEAST_SHARE = 1.0 / 32.0
"""Of its observations that a thinned pixel keeps."""


@dataclass(frozen=True)
class Split:
    """Two halves of the observations of some sites, without a common one."""

    name: str
    sites: PixelSites
    """What is split: of splits by satellite or orbit, the acquisitions of one sensor."""

    first: Tensor
    """(N, T), bool."""

    second: Tensor
    """(N, T), bool."""


def alternate(sites: PixelSites, name: str = "alternate dates") -> Split:
    """Every other clear date of each pixel, of all its sensors together."""
    observed = sites.observed
    even = (observed.cumsum(1) - 1) % 2 == 0
    return Split(name, sites, observed & even, observed & ~even)


def by_acquisition(sites: PixelSites) -> Split:
    """Every other acquisition of the region, the same for all pixels."""
    even = torch.arange(len(sites.days)) % 2 == 0
    return Split("acquisitions", sites, sites.observed & even, sites.observed & ~even)


def splits_by_platform(sites: PixelSites) -> Iterator[Split]:
    """Of each Sentinel its two satellites on the orbit with most dates, and its two orbits.

    Nothing comes of a sensor that has one of them only.
    """
    for sensor in sorted(set(sites.sensors.tolist())):
        if not sensor.startswith("sentinel"):
            continue
        alone = sites.of_sensors([sensor])
        orbits = _most_frequent(alone.orbits)
        there = alone.orbits == orbits[0]
        satellites = _most_frequent(alone.satellites[there])
        if len(satellites) > 1:
            yield _split(
                f"{sensor}, satellites",
                alone,
                *(there & (alone.satellites == number) for number in satellites[:2]),
            )
        if len(orbits) > 1:
            yield _split(
                f"{sensor}, orbits", alone, *(alone.orbits == number for number in orbits[:2])
            )


def thinned(sites: PixelSites, seed: int = 0) -> PixelSites:
    """Keep of each pixel's observations a share, drawn evenly in its logarithm from 1/32 to 1."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(len(sites), 1, generator=generator)
    kept = torch.rand(sites.w.shape[:2], generator=generator) < LEAST_SHARE**draws
    return sites.kept(kept)


def _most_frequent(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    values, counts = np.unique(numbers, return_counts=True)
    return values[np.argsort(-counts, kind="stable")]


def _split(
    name: str, sites: PixelSites, first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> Split:
    observed = sites.observed
    return Split(
        name, sites, observed & torch.from_numpy(first), observed & torch.from_numpy(second)
    )
