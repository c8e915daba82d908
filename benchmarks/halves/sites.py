"""What a model reads of the pixels of a cube: sites, and which satellite and orbit each is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terralatent.models.gpvae import GPVAE
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.job import MappingJob, plan_job
from terralatent.pipeline.region import Block

__all__ = ["PixelSites", "mid_months", "read_sites"]

CYCLE_DAYS = {"sentinel-2": 10, "sentinel-1": 12}
"""After how many days satellites repeat their orbits; the two of a pair are half of it apart."""

BATCH = 256
"""Pixels that are encoded at once."""


@dataclass(frozen=True)
class PixelSites:
    """Pseudo-observations of N pixels on their region's T acquisitions, ascending in time."""

    days: Tensor
    """Days since 1970-01-01, (T,), float64."""

    w: Tensor
    """Precision, (N, T, L), float64, 0 where not clear."""

    eta: Tensor
    """Information, the same shape."""

    sensors: NDArray[np.str_]
    """Of each acquisition, (T,)."""

    orbits: NDArray[np.int64]
    """What differs between orbits of one sensor, (T,)."""

    satellites: NDArray[np.int64]
    """What differs between satellites on one orbit, (T,)."""

    pixels: NDArray[np.intp]
    """Row-major places of the pixels on the grid, (N,)."""

    shape: tuple[int, int]
    """Of the grid."""

    def __len__(self) -> int:
        """The number of pixels N."""
        return len(self.w)

    @property
    def observed(self) -> Tensor:
        """Where there is a clear observation, (N, T), bool."""
        return (self.w > 0.0).any(-1)

    def kept(self, entries: Tensor) -> PixelSites:
        """The same with w and eta 0 but where ``entries``, (N, T) or (T,), bool."""
        some = entries.expand(self.w.shape[:2]).unsqueeze(-1)
        return replace(self, w=self.w * some, eta=self.eta * some)

    def divided(self, factors: Mapping[str, Tensor]) -> PixelSites:
        """The same with w and eta divided by a factor for each sensor and latent, (L,) each."""
        by = torch.ones(len(self.days), self.w.shape[-1], dtype=self.w.dtype)
        for name, factor in factors.items():
            by[torch.from_numpy(self.sensors == name)] = factor.to(by)
        return replace(self, w=self.w / by, eta=self.eta / by)

    def of_sensors(self, names: Sequence[str]) -> PixelSites:
        """The same with acquisitions of some sensors alone; days of others are gone."""
        chosen = np.isin(self.sensors, list(names))
        kept = torch.from_numpy(chosen)
        return replace(
            self,
            days=self.days[kept],
            w=self.w[:, kept],
            eta=self.eta[:, kept],
            sensors=self.sensors[chosen],
            orbits=self.orbits[chosen],
            satellites=self.satellites[chosen],
        )

    def batches(self, size: int) -> Iterator[slice]:
        """Slices of so many pixels at most, which together are all."""
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))


def mid_months(days: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """The 15th of the twelve months in the middle of a calendar, January first.

    Returns:
        Days since 1970-01-01, (12,), float64, by calendar month and not in time; and the first
        day of that year and of the next.
    """
    middle = np.datetime64(int((days[0] + days[-1]) / 2), "D").astype("datetime64[M]")
    months = middle + np.arange(-6, 6)
    fifteenths = months.astype("datetime64[D]") + np.timedelta64(14, "D")
    order = np.argsort(months.astype(np.int64) % 12)
    ends = [np.datetime64(month, "D").astype(np.int64) for month in (months[0], months[-1] + 1)]
    queries = torch.from_numpy(fifteenths[order].astype(np.int64).astype(np.float64))
    return queries, (float(ends[0]), float(ends[1]))


@torch.no_grad()
def read_sites(cube: Path, model: str | Path | None, most: int, seed: int = 0) -> PixelSites:
    """Encode pixels of a small cube, drawn from all over it; computes.

    Args:
        cube: Its path; read whole.
        model: Folder or name of a GP-VAE; the default one if None.
        most: Pixels at most.
        seed: Of the draw.
    """
    job = plan_job(cube, model, "monthly", device="cpu")
    rows, columns = job.grid.shape
    series = job.read(Block((0, 0), slice(0, rows), slice(0, columns)))
    seen = np.flatnonzero(series.seen)
    drawn = np.random.default_rng(seed).permutation(len(seen))[:most]
    pixels = np.sort(seen[drawn])
    loaded = job.load()
    assert isinstance(loaded, GPVAE)
    parts = [
        loaded.sites(series.series(pixels[start : start + BATCH]))
        for start in range(0, len(pixels), BATCH)
    ]
    first = parts[0]
    sensors = np.empty(len(first.days), dtype=object)
    orbits, satellites = np.zeros((2, len(first.days)), dtype=np.int64)
    for name, places in first.places.items():
        sensors[places.numpy()] = name
        orbits[places.numpy()], satellites[places.numpy()] = _flown(job, name)
    return PixelSites(
        days=first.days,
        w=torch.cat([part.w for part in parts]).double(),
        eta=torch.cat([part.eta for part in parts]).double(),
        sensors=sensors.astype(np.str_),
        orbits=orbits,
        satellites=satellites,
        pixels=pixels,
        shape=(rows, columns),
    )


def _flown(job: MappingJob, sensor: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Orbit and satellite of each acquisition of a sensor, as numbers.

    By the repeat cycle, which every catalogue's times give: platform and orbit are often not
    stated, and here by none of the real scenes.
    """
    cycle = CYCLE_DAYS.get(sensor[:10], 1)
    times = np.asarray(job.open_cube()[f"{sensor}/time"]).astype("datetime64[us]")
    phase = np.floor(days_since_1970(times)).astype(np.int64) % cycle
    half = max(cycle // 2, 1)
    return phase % half, phase // half
