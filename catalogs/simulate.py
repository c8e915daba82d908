"""A simulated region with known truth: the land, its seasons, and what the Sentinels see of it.

Everything is drawn from one seed; each date has random numbers of its own, so that none depends on
how many others there are or on the order in which they are computed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pystac
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import shift as shifted

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.simulation.archive import (
    Ground,
    optical_item,
    radar_item,
    write_catalogue,
)
from terralatent.catalogs.simulation.canopy import BANDS
from terralatent.catalogs.simulation.landscape import LandCover, lay_out_land
from terralatent.catalogs.simulation.orbits import TRACKS, Pass, passes, sun
from terralatent.catalogs.simulation.radar import CALIBRATION, LOOKS, Radar, speckle
from terralatent.catalogs.simulation.seasons import grow
from terralatent.catalogs.simulation.sky import (
    PIXEL_NOISE,
    Residual,
    Sky,
    SkyClass,
    draw_residual,
    draw_sky,
    mask_threshold,
    scene_classes,
)
from terralatent.catalogs.simulation.surface import COARSE, Surface, halved
from terralatent.catalogs.simulation.truth import DAYS_A_CHUNK, Truth, flags, packed
from terralatent.catalogs.simulation.weather import make_weather

__all__ = ["FIRST_YEAR", "simulate"]

FIRST_YEAR = 2018
"""Calendar year in which a simulation begins: both satellites of both pairs are in orbit."""

REPROCESSED_EVERY = 24
"""One Sentinel-2 acquisition in so many is there a second time, reprocessed."""

LAND, WEATHER, SEASONS, RADAR, OPTICAL_DATE, RADAR_DATE = range(6)
"""Keys of the random numbers."""

BAND_NAMES = np.array(list(BANDS), dtype=object)

Told = Callable[[int, int], None]


def simulate(
    out: str | Path,
    *,
    size: int = 256,
    years: int = 1,
    seed: int = 0,
    tell: Told | None = None,
) -> Path:
    """Simulate a region and write it to the folder ``out``; computes.

    A static STAC catalogue (``catalog.json``) with the collections ``sentinel-2-l2a`` and
    ``sentinel-1-rtc`` as COGs, the outline ``region.geojson``, and the truth ``truth.zarr``, see
    :mod:`terralatent.catalogs.simulation.truth`. The same arguments give the same bytes. The folder
    appears when all is written; a run that is broken off leaves nothing in its place.

    Args:
        out: A folder that is not there yet, or that the same call has made.
        size: Pixels of 10 m along y and x, even, at least 32.
        years: Calendar years from 2018 on.
        seed: Of all that is drawn, at least 0.
        tell: Is called with the number of dates and days done and their total.

    Returns:
        The folder.

    Raises:
        InputError: If an argument cannot be used, or ``out`` holds something else.
    """
    _check(size, years, seed)
    settings = {"size": size, "years": years, "seed": seed, "version": 1}
    folder = Path(out).expanduser().absolute()
    if _is_there(folder, settings):
        return folder
    aside = folder.with_name(f".{folder.name}-part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        truth = Truth(aside, Ground(size), {"simulation": settings})
        _Simulation(Ground(size), years, seed).write(aside, truth, tell or (lambda *_: None))
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return folder


@dataclass(frozen=True)
class _Simulation:
    """All that is drawn before the first date, and what writes the dates."""

    ground: Ground
    years: int
    seed: int

    def write(self, folder: Path, truth: Truth, tell: Told) -> None:
        """Draw everything and write it below ``folder``."""
        size, first = self.ground.size, np.datetime64(f"{FIRST_YEAR}-01-01")
        last = np.datetime64(f"{FIRST_YEAR + self.years}-01-01") - 1
        days = np.arange(first, last + 1)
        # One crop year more: what stands in the last autumn depends on the next crop.
        land = lay_out_land(size, self.years + 1, self.draw(LAND))
        weather = make_weather(days, self.draw(WEATHER))
        canopies = grow(land.cover, days, FIRST_YEAR, self.draw(SEASONS))
        tracks = TRACKS["sentinel-2-l2a"]
        surface = Surface.lit(land, canopies, weather, days, FIRST_YEAR, self.ground.middle, tracks)
        radar = Radar.over(surface, self.draw(RADAR))

        optical = list(passes("sentinel-2-l2a", first, last))
        looks = list(passes("sentinel-1-rtc", first, last))
        total, done = len(optical) + len(looks) + len(days), 0

        def count(finished: int) -> None:
            nonlocal done
            done += finished
            tell(done, total)

        items: list[pystac.Item] = []
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            residuals = [draw_residual(self.draw(OPTICAL_DATE, taken, 1)) for taken in optical]
            skies = list(pool.map(lambda taken: self.sky(taken, surface), optical))
            threshold = mask_threshold(skies)
            for written in pool.map(
                lambda taken, sky, left, number: self.optical(
                    folder, surface, taken, sky, left, threshold, number % REPROCESSED_EVERY == 7
                ),
                optical, skies, residuals, range(len(optical)),
            ):  # fmt: skip
                items += written
                count(1)
            for one in pool.map(lambda taken: self.look(folder, radar, taken), looks):
                items.append(one)
                count(1)
            self.tell_truth(truth, surface, pool, count)
        self.tell_dates(truth, optical, skies, residuals, looks)
        title = f"Simulated: {size} x {size} pixels of 10 m, {self.years} years, seed {self.seed}"
        write_catalogue(folder, self.ground, items, title)

    def draw(self, key: int, taken: Pass | None = None, part: int = 0) -> Generator:
        """Random numbers of their own for each ``key`` and pass."""
        when = [] if taken is None else [int(taken.time.astype(np.int64)), taken.track.orbit]
        return np.random.default_rng([self.seed, key, part, *when])

    def sky(self, taken: Pass, surface: Surface) -> Sky:
        """The sky of an optical pass."""
        gloom = float(surface.weather.gloom[_day(taken, surface.days)])
        position = sun(taken.time, *self.ground.middle)
        return draw_sky(self.ground.size // 2, gloom, position, self.draw(OPTICAL_DATE, taken))

    def optical(
        self,
        folder: Path,
        surface: Surface,
        taken: Pass,
        sky: Sky,
        left: Residual,
        threshold: float,
        reprocessed: bool,
    ) -> list[pystac.Item]:
        """Write an optical pass, and its reprocessed copy where it has one."""
        clear = surface.reflectance(_day(taken, surface.days), taken.track)
        moved = np.stack([shifted(band, left.shift, order=1, mode="nearest") for band in clear])
        seen = (1 + left.gain) * sky.over(moved) + left.offset[:, None, None]
        rng = self.draw(OPTICAL_DATE, taken, 2)
        images = {}
        for name, band in zip(BANDS, seen.astype(np.float32), strict=True):
            image = halved(band) if name in COARSE else band
            deviation = PIXEL_NOISE[0] + PIXEL_NOISE[1] * np.abs(image)
            images[name] = image + deviation * rng.standard_normal(image.shape, np.float32)
        red, infrared = halved(images["B04"]), halved(images["B08"])
        ndvi = (infrared - red) / np.maximum(infrared + red, 1e-3)
        water = surface.cover(_day(taken, surface.days))[::2, ::2] == LandCover.WATER
        classes = scene_classes(sky, threshold, ndvi, water)
        cover = 100 * float(np.isin(classes, (8, 9, 10)).mean())
        position = sun(taken.time, *self.ground.middle)
        return [
            optical_item(
                folder, self.ground, taken, images, classes,
                cloud_cover=cover, sun=position, reprocessed=copy,
            )
            for copy in ((False, True) if reprocessed else (False,))
        ]  # fmt: skip

    def look(self, folder: Path, radar: Radar, taken: Pass) -> pystac.Item:
        """Write a radar pass."""
        off, wind = self.draw(RADAR_DATE, taken).standard_normal(2)
        power = radar.backscatter(_day(taken, radar.surface.days), taken.track, float(wind))
        power = power * 10 ** (CALIBRATION * off / 10)
        power = power * speckle(self.ground.size, self.draw(RADAR_DATE, taken, 1))
        images = {"vv": power[0].astype(np.float32), "vh": power[1].astype(np.float32)}
        return radar_item(folder, self.ground, taken, images)

    def tell_truth(
        self, truth: Truth, surface: Surface, pool: ThreadPoolExecutor, count: Callable[[int], None]
    ) -> None:
        """Write land cover, leaf area and clear reflectance of every day."""
        size, days = self.ground.size, surface.days
        years = np.arange(FIRST_YEAR, FIRST_YEAR + self.years)
        cover = np.stack([surface.land.land_cover(n) for n in range(self.years)])
        truth.add("year", ("year",), years)
        truth.add("time", ("time",), days)
        truth.add("band", ("band",), BAND_NAMES)
        truth.add("land_cover", ("year", "y", "x"), cover, flags(LandCover))
        truth.add("parcel", ("y", "x"), surface.land.parcel, {"long_name": "number of the parcel"})
        truth.add("moisture", ("time",), surface.weather.moisture, {"units": "m3/m3"})
        area = truth.daily(
            "leaf_area", ("time", "y", "x"), (len(days), size, size), "green leaf area, m2/m2"
        )
        reflectance = truth.daily(
            "reflectance", ("time", "band", "y", "x"), (len(days), len(BANDS), size, size),
            "clear reflectance seen from nadir",
        )  # fmt: skip
        for start in range(0, len(days), DAYS_A_CHUNK):
            some = range(start, min(start + DAYS_A_CHUNK, len(days)))
            stop = some[-1] + 1
            area[start:stop] = np.stack(
                list(pool.map(lambda n: packed("leaf_area", surface.green_area(n)), some))
            )
            reflectance[start:stop] = np.stack(
                list(pool.map(lambda n: packed("reflectance", surface.reflectance(n)), some))
            )
            count(len(some))

    def tell_dates(
        self,
        truth: Truth,
        optical: list[Pass],
        skies: list[Sky],
        residuals: list[Residual],
        looks: list[Pass],
    ) -> None:
        """Write what truly happened on each date."""
        group = "sentinel-2-l2a"
        truth.add(f"{group}/time", ("time",), _times(optical))
        truth.add(f"{group}/band", ("band",), BAND_NAMES)
        sky = np.stack([one.classes for one in skies])
        truth.add(f"{group}/sky", ("time", "y20", "x20"), sky, flags(SkyClass))
        offset = np.stack([left.offset for left in residuals])
        truth.add(f"{group}/offset", ("time", "band"), offset, {"units": "1"})
        truth.add(f"{group}/gain", ("time",), np.array([left.gain for left in residuals]))
        shift = np.stack([left.shift for left in residuals])
        truth.add(f"{group}/shift", ("time", "axis"), shift, {"units": "pixels of 10 m"})
        constant, share = PIXEL_NOISE
        truth.describe(group, {"noise_constant": constant, "noise_share": share})

        group = "sentinel-1-rtc"
        off = [CALIBRATION * self.draw(RADAR_DATE, taken).standard_normal() for taken in looks]
        truth.add(f"{group}/time", ("time",), _times(looks))
        truth.add(f"{group}/calibration", ("time",), np.array(off), {"units": "dB"})
        truth.describe(group, {"looks": LOOKS})


def _check(size: int, years: int, seed: int) -> None:
    if size < 32 or size % 2:
        raise InputError(f"Size {size} cannot be: give an even number of pixels, 32 or more.")
    if years < 1:
        raise InputError(f"{years} years cannot be simulated; give 1 or more.")
    if seed < 0:
        raise InputError(f"Seed {seed} is below zero; give 0 or more.")


def _is_there(folder: Path, settings: dict[str, int]) -> bool:
    """Whether the same simulation lies in ``folder``; refuse everything else that may lie there."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    there = Truth.settings(folder)
    if there is None:
        raise InputError(
            f"{folder} exists and is no simulated region; choose another --out, or remove it."
        )
    unlike = [
        f"{name} is {there.get(name)} there, {value} here"
        for name, value in settings.items()
        if there.get(name) != value
    ]
    if unlike:
        raise InputError(
            f"{folder} holds another simulation: {'; '.join(unlike)}. Choose another --out."
        )
    return True


def _day(taken: Pass, days: NDArray[np.datetime64]) -> int:
    return int((taken.time.astype("datetime64[D]") - days[0]).astype(int))


def _times(taken: list[Pass]) -> NDArray[np.datetime64]:
    return np.array([one.time for one in taken])
