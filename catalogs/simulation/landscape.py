"""The land of a simulated region: parcels, what covers them in each year, and how pixels differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from terralatent.catalogs.simulation.climates.climate import Climate
from terralatent.catalogs.simulation.climates.covers import LandCover

__all__ = ["Landscape", "lay_out_land", "smooth_noise"]

CLUSTERS = 60.0
"""Pixels over which forest and settlements keep together."""

BLOCK_PIXELS = 3600.0
"""Pixels of 10 m in a block of fields of one direction."""

LARGE_PARCEL, FEWEST_PARCELS = 220.0, 24
"""Pixels of 10 m from which parcels are smaller in regions that would not hold so many of them."""

SMALLEST_PART = 0.25
"""Of a parcel: a class that would cover less is absent from most regions."""

SMALLEST_SIDE = 7.0
"""Pixels along the shorter side of a parcel, about."""


@dataclass(frozen=True)
class Landscape:
    """The land; every map has the shape (y, x)."""

    parcel: NDArray[np.int32]
    """Number of the parcel of each pixel, from 0."""

    cover: NDArray[np.int8]
    """:class:`LandCover` of each parcel, (crop years, parcels)."""

    vigour: NDArray[np.float32]
    """Leaf area of a pixel beside the mean of its parcel, about 1."""

    brightness: NDArray[np.float32]
    """Brightness of the soil, the scalar of PROSAIL's soil."""

    sealed: NDArray[np.float32]
    """Share of roofs and asphalt within built-up pixels, 0 to 1."""

    roof: NDArray[np.float32]
    """Share of bright roofs within what is sealed, 0 to 1."""

    grain: NDArray[np.float32]
    """What is left of small differences between pixels: a factor of reflectance, about 1."""

    soil: NDArray[np.float32]
    """Share of the world's second soil, 0 to 1; the first has the rest."""

    @property
    def parcels(self) -> int:
        """How many parcels there are."""
        return int(self.cover.shape[1])

    def land_cover(self, year: int) -> NDArray[np.uint8]:
        """Return the class of each pixel in crop year ``year``, counted from 0, (y, x)."""
        return np.asarray(self.cover[year][self.parcel], dtype=np.uint8)


def lay_out_land(
    size: int, years: int, climate: Climate, rng: Generator, soils: Generator
) -> Landscape:
    """Divide ``size`` x ``size`` pixels of 10 m into parcels and cover them for ``years``.

    Blocks of fields have their own directions; a river runs through; forest and settlements keep
    together; crops change from year to year, all else stays. ``climate`` says how much there is of
    each; ``soils`` draws where one soil passes into another.
    """
    blocks = _divide(np.zeros((size, size), np.int32), BLOCK_PIXELS, rng)
    most = max(LARGE_PARCEL, size * size / FEWEST_PARCELS)
    parcel = _divide(blocks, min(climate.parcel, most), rng)
    parcel[_river(size, climate.river, rng)] = parcel.max() + 1
    _, places = np.unique(parcel, return_inverse=True)
    parcel = places.reshape(size, size).astype(np.int32)
    cover = _cover(parcel, years, climate, rng)

    count = cover.shape[1]
    by_parcel = np.clip(0.52 + 0.15 * rng.standard_normal(count), 0.22, 0.95)
    patches = smooth_noise(size, 6.0, rng)
    return Landscape(
        parcel=parcel,
        cover=cover,
        vigour=np.exp(0.13 * patches + 0.05 * smooth_noise(size, 1.0, rng)).astype(np.float32),
        brightness=(by_parcel[parcel] * (1 + 0.10 * smooth_noise(size, 8.0, rng))).astype(
            np.float32
        ),
        sealed=_share(0.62 + 0.30 * smooth_noise(size, 1.5, rng)),
        roof=_share(0.45 + 0.40 * smooth_noise(size, 1.0, rng)),
        grain=(1 + 0.02 * smooth_noise(size, 0.7, rng)).astype(np.float32),
        soil=_share(0.5 + 0.8 * smooth_noise(size, CLUSTERS / 4, soils)),
    )


def smooth_noise(size: int, scale: float, rng: Generator) -> NDArray[np.float64]:
    """Gaussian noise of unit variance, (size, size), correlated over ``scale`` pixels."""
    margin = int(np.ceil(4 * scale))
    white = rng.standard_normal((size + 2 * margin, size + 2 * margin))
    smooth = gaussian_filter(white, scale, mode="wrap")
    # The filter's own gain, so that a small region may lie above or below the mean as a whole.
    impulse = np.zeros_like(white)
    impulse[margin, margin] = 1.0
    gain = np.sqrt((gaussian_filter(impulse, scale, mode="wrap") ** 2).sum())
    inner = slice(margin, margin + size)
    noise: NDArray[np.float64] = smooth[inner, inner] / gain
    return noise


def _divide(zones: NDArray[np.int32], pixels: float, rng: Generator) -> NDArray[np.int32]:
    """Cut every zone, along and across a direction of its own, into parts of about ``pixels``."""
    parts = np.empty_like(zones)
    flat, count = parts.ravel(), 0
    y, x = np.divmod(np.arange(zones.size), zones.shape[1])
    for zone in np.unique(zones):
        angle = rng.uniform(0, np.pi)
        along = np.cos(angle) * x + np.sin(angle) * y
        across = -np.sin(angle) * x + np.cos(angle) * y
        waiting = [np.flatnonzero(zones.ravel() == zone)]
        while waiting:
            inside = waiting.pop()
            spans = [np.ptp(axis[inside]) for axis in (along, across)]
            wanted = pixels * np.exp(0.45 * rng.standard_normal())
            if len(inside) <= wanted or max(spans) < 2 * SMALLEST_SIDE:
                flat[inside] = count
                count += 1
                continue
            axis = (along if spans[0] >= spans[1] else across)[inside]
            cut = np.quantile(axis, rng.uniform(0.35, 0.65))
            waiting += [inside[axis <= cut], inside[axis > cut]]
    return parts


def _river(size: int, half_width: float, rng: Generator) -> NDArray[np.bool_]:
    """A winding band of water through the region."""
    y, x = np.mgrid[:size, :size].astype(float)
    angle, turns = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi, 2)
    along = np.cos(angle) * (x - size / 2) + np.sin(angle) * (y - size / 2)
    across = -np.sin(angle) * (x - size / 2) + np.cos(angle) * (y - size / 2)
    middle = rng.uniform(-0.25, 0.25) * size
    bends = 9 * np.sin(along / 19 + turns[0]) + 5 * np.sin(along / 8.3 + turns[1])
    return np.asarray(np.abs(across - middle - bends) < half_width)


def _cover(
    parcel: NDArray[np.int32], years: int, climate: Climate, rng: Generator
) -> NDArray[np.int8]:
    """Cover the parcels, (years, parcels); the last one is the river."""
    count = int(parcel.max()) + 1
    area = np.bincount(parcel.ravel(), minlength=count)
    middles = [
        np.bincount(parcel.ravel(), place.ravel(), count) / area
        for place in np.mgrid[: parcel.shape[0], : parcel.shape[1]]
    ]
    y, x = (np.asarray(middle, dtype=int) for middle in middles)
    cover = np.zeros((years, count), np.int8)
    free = np.ones(count, bool)
    free[-1] = False
    cover[:, -1] = LandCover.WATER
    for name, share in climate.clustered.items():
        likely = smooth_noise(parcel.shape[0], CLUSTERS / 3, rng)[y, x]
        taken, least = 0, SMALLEST_PART * parcel.size / count
        if share * parcel.size < least and rng.random() > share * parcel.size / least:
            continue
        for number in np.argsort(-np.where(free, likely, -np.inf)):
            if taken >= share * parcel.size or not free[number]:
                break
            cover[:, number], free[number] = LandCover[name.upper()], False
            taken += area[number]
    among: dict[LandCover | None, float] = {k: s for k, s in _named(climate.scattered).items()}
    among[None] = climate.arable
    scattered = _deal(np.flatnonzero(free), area, among, rng)
    cover[:, scattered > 0] = scattered[scattered > 0]
    fields = np.flatnonzero(cover[0] == 0)
    arable = _named({name: rotation.share for name, rotation in climate.crops.items()})
    for year in range(years):
        cover[year, fields] = _deal(fields, area, arable, rng)[fields]
    return cover


def _deal(
    parcels: NDArray[np.intp],
    area: NDArray[np.intp],
    shares: Mapping[LandCover, float] | Mapping[LandCover | None, float],
    rng: Generator,
) -> NDArray[np.int8]:
    """Deal ``parcels`` out so that the classes come as near to their shares as parcels allow.

    Each goes to the class that lacks most, so that a region of few parcels still has them all.
    """
    kinds, wanted = list(shares), np.array(list(shares.values()))
    lacking = wanted / wanted.sum() * area[parcels].sum()
    dealt = np.zeros(len(area), np.int8)
    for number in rng.permutation(parcels):
        kind = int(np.argmax(lacking * rng.uniform(0.6, 1.0, len(kinds))))
        dealt[number] = int(kinds[kind] or 0)
        lacking[kind] -= area[number]
    return dealt


def _named(shares: Mapping[str, float]) -> dict[LandCover, float]:
    return {LandCover[name.upper()]: share for name, share in shares.items()}


def _share(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.clip(0.0, 1.0).astype(np.float32)
