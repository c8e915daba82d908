"""A simulated region with known truth: the land, its seasons, and what the Sentinels observe of it.

Everything is drawn from one seed; each date has random numbers of its own, so that none depends on
how many others there are or on the order in which they are computed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pystac

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.simulation.archive import Ground, write_catalogue
from terralatent.catalogs.simulation.draws import Draws, Key
from terralatent.catalogs.simulation.landscape import lay_out_land
from terralatent.catalogs.simulation.orbits import TRACKS, Pass, passes
from terralatent.catalogs.simulation.radar import Radar
from terralatent.catalogs.simulation.satellites import Satellites
from terralatent.catalogs.simulation.seasons import grow
from terralatent.catalogs.simulation.sky import Residual, Sky, mask_threshold
from terralatent.catalogs.simulation.surface import Surface
from terralatent.catalogs.simulation.truth import (
    Truth,
    write_days,
    write_optical_dates,
    write_radar_dates,
)
from terralatent.catalogs.simulation.weather import make_weather

__all__ = ["FIRST_YEAR", "simulate"]

FIRST_YEAR = 2018
"""Calendar year in which a simulation begins: both satellites of both pairs are in orbit."""

MOST_PIXELS, MOST_YEARS = 4096, 20
"""More along an axis, or more years, are a slip of the keyboard: they fill memory and disk."""

REPROCESSED_EVERY = 24
"""One Sentinel-2 acquisition in so many is there a second time, reprocessed."""

Progress = Callable[[int, int], None]


def simulate(
    out: str | Path,
    *,
    size: int = 256,
    years: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Simulate a region and write it to the folder ``out``; computes.

    A static STAC catalogue (``catalog.json``) with the collections ``sentinel-2-l2a`` and
    ``sentinel-1-rtc`` as COGs, the region ``region.geojson``, and the truth ``truth.zarr``, see
    :mod:`terralatent.catalogs.simulation.truth`. The same arguments give the same bytes. The folder
    appears when all is written; a run that is broken off leaves nothing in its place.

    Args:
        out: A folder that is not there yet, or that the same call has made.
        size: Pixels of 10 m along y and x, even, at least 32.
        years: Calendar years from 2018 on.
        seed: Of all that is drawn, at least 0.
        progress: Called with the number of dates and days done and their total.

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
    refuse_inside_store(out)
    aside = folder.with_name(f".{folder.name}-part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        truth = Truth(aside, Ground(size), {"simulation": settings})
        _write(aside, Ground(size), truth, years, Draws(seed), progress or (lambda *_: None))
        aside.rename(folder)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"Cannot write {folder}: {error.strerror or error}.") from error
        raise
    return folder


def _write(
    folder: Path, ground: Ground, truth: Truth, years: int, draws: Draws, progress: Progress
) -> None:
    """Draw land, weather and seasons, take every acquisition, and write it all below ``folder``."""
    first = np.datetime64(f"{FIRST_YEAR}-01-01")
    last = np.datetime64(f"{FIRST_YEAR + years}-01-01") - 1
    days = np.arange(first, last + 1)
    # One crop year more: what stands in the last autumn depends on the next crop.
    land = lay_out_land(ground.size, years + 1, draws.of(Key.LAND))
    weather = make_weather(days, draws.of(Key.WEATHER))
    canopies = grow(land.cover, days, FIRST_YEAR, draws.of(Key.SEASONS))
    surface = Surface.lit(
        land, canopies, weather, days, FIRST_YEAR, ground.middle, TRACKS["sentinel-2-l2a"]
    )
    radar = Radar.over(surface, draws.of(Key.RADAR))
    satellites = Satellites(folder, ground, surface, radar, draws)

    optical = list(passes("sentinel-2-l2a", first, last))
    radar_passes = list(passes("sentinel-1-rtc", first, last))
    total, done = len(optical) + len(radar_passes) + len(days), 0

    def count(finished: int) -> None:
        nonlocal done
        done += finished
        progress(done, total)

    items: list[pystac.Item] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        residuals = [satellites.residual(taken) for taken in optical]
        skies = list(pool.map(satellites.sky, optical))
        take = partial(_take, satellites, mask_threshold(skies))
        for written in pool.map(take, range(len(optical)), optical, skies, residuals):
            items += written
            count(1)
        for item in pool.map(satellites.take_radar, radar_passes):
            items.append(item)
            count(1)
        write_days(truth, surface, years, pool, count)
    write_optical_dates(truth, optical, skies, residuals)
    calibration = [satellites.calibration(taken) for taken in radar_passes]
    write_radar_dates(truth, radar_passes, calibration)
    title = f"Simulated: {ground.size} x {ground.size} pixels of 10 m, seed {draws.seed}"
    write_catalogue(folder, ground, items, title)


def _take(
    satellites: Satellites, threshold: float, number: int, taken: Pass, sky: Sky, left: Residual
) -> list[pystac.Item]:
    """Take optical pass ``number``."""
    reprocessed = number % REPROCESSED_EVERY == REPROCESSED_EVERY // 3
    return satellites.take_optical(taken, sky, left, threshold, reprocessed=reprocessed)


def _check(size: int, years: int, seed: int) -> None:
    if size < 32 or size % 2:
        raise InputError(f"Size {size} cannot be: give an even number of pixels, 32 or more.")
    if size > MOST_PIXELS:
        raise InputError(f"Size {size} is too much; give {MOST_PIXELS} pixels or fewer.")
    if years < 1:
        raise InputError(f"{years} years cannot be simulated; give 1 or more.")
    if years > MOST_YEARS:
        raise InputError(f"{years} years are too much; give {MOST_YEARS} or fewer.")
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
