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
from typing import Any

import numpy as np
import pystac
from numpy.typing import NDArray

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.simulation.archive import write_catalogue
from terralatent.catalogs.simulation.climates.climate import DEFAULT
from terralatent.catalogs.simulation.climates.spectra import MSI, OLI
from terralatent.catalogs.simulation.climates.world import FIRST_YEAR, World, draw_world
from terralatent.catalogs.simulation.draws import Draws, Key
from terralatent.catalogs.simulation.landsat import OLI_NOISE
from terralatent.catalogs.simulation.landscape import Landscape, lay_out_land
from terralatent.catalogs.simulation.orbits import passes
from terralatent.catalogs.simulation.radar import Radar
from terralatent.catalogs.simulation.satellites import Satellites
from terralatent.catalogs.simulation.seasons import Canopies, grow
from terralatent.catalogs.simulation.sky import PIXEL_NOISE, mask_threshold
from terralatent.catalogs.simulation.surface import NADIR, Surface
from terralatent.catalogs.simulation.truth import (
    Truth,
    write_days,
    write_optical_dates,
    write_radar_dates,
)
from terralatent.catalogs.simulation.weather import Weather, make_weather

__all__ = ["FIRST_YEAR", "simulate"]

SPIN_UP = 400
"""Days before and after the simulated ones for which there is weather, so that plants and rains do
not begin with the calendar; the default world has none."""

MOST_PIXELS, MOST_YEARS = 4096, 20
"""More along an axis, or more years, are a slip of the keyboard: they fill memory and disk."""

Progress = Callable[[int, int], None]


def simulate(
    out: str | Path,
    *,
    size: int = 256,
    years: int = 1,
    seed: int = 0,
    climate: str = DEFAULT,
    progress: Progress | None = None,
) -> Path:
    """Simulate a region and write it to the folder ``out``; computes.

    A static STAC catalogue (``catalog.json``) with the collections ``sentinel-2-l2a`` and
    ``sentinel-1-rtc``, in some worlds ``landsat-c2-l2``, as COGs, the region ``region.geojson``,
    and the truth ``truth.zarr``, see :mod:`terralatent.catalogs.simulation.truth`. The same
    arguments give the same bytes. The folder appears when all is written; a run that is broken off
    leaves nothing in its place.

    Args:
        out: A folder that is not there yet, or that the same call has made.
        size: Pixels of 10 m along y and x, even, at least 32.
        years: Calendar years, in the default climate from 2018 on.
        seed: Of all that is drawn, at least 0.
        climate: One of :data:`~terralatent.catalogs.simulation.climates.climate.CLIMATES`, or
            ``random``. In any but the default one, place, soils, satellites and the first year are
            drawn too, and stand as ``world`` in the attributes of catalogue and truth.
        progress: Called with the number of dates and days done and their total.

    Returns:
        The folder.

    Raises:
        InputError: If an argument cannot be used, or ``out`` holds something else.

    Examples:
        >>> import terralatent as tl
        >>> tl.simulate("region", size=32).name
        'region'
    """
    _check(size, years, seed)
    draws = Draws(seed)
    world = draw_world(climate, size, draws)
    settings: dict[str, Any] = {"size": size, "years": years, "seed": seed, "version": 1}
    about: dict[str, Any] = {"simulation": settings}
    if not world.default:
        settings["climate"] = climate
        about["world"] = world.to_json()
    folder = Path(out).expanduser().absolute()
    if _is_there(folder, settings):
        return folder
    refuse_inside_store(out)
    aside = folder.with_name(f".{folder.name}-part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        truth = Truth(aside, world.ground, about)
        _write(aside, world, truth, years, draws, progress or (lambda *_: None))
        aside.rename(folder)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"Cannot write {folder}: {error.strerror or error}.") from error
        raise
    return folder


def _write(
    folder: Path, world: World, truth: Truth, years: int, draws: Draws, progress: Progress
) -> None:
    """Draw land, weather and seasons, take every acquisition, and write it all below ``folder``."""
    first = np.datetime64(f"{world.first_year}-01-01")
    last = np.datetime64(f"{world.first_year + years}-01-01") - 1
    days = np.arange(first, last + 1)
    # One crop year more: what stands in the last autumn depends on the next crop.
    land = lay_out_land(
        world.ground.size, years + 1, world.climate, draws.of(Key.LAND), draws.of(Key.SOILS)
    )
    weather, canopies = _seasons(world, land, days, draws)
    optical, radar_passes, landsat = (
        [
            taken
            for taken in passes(collection, first, last, world.tracks)
            if world.acquired(taken, collection, draws)
        ]
        for collection in ("sentinel-2-l2a", "sentinel-1-rtc", "landsat-c2-l2")
    )
    views = [(MSI, NADIR), *((MSI, track) for track in world.tracks["sentinel-2-l2a"])]
    views += [(OLI, NADIR)] if landsat else []
    surface = Surface.lit(world, land, canopies, weather, days, views)
    radar = Radar.over(surface, draws.of(Key.RADAR))
    satellites = Satellites(folder, world.ground, surface, radar, draws)
    total, done = len(optical) + len(radar_passes) + len(landsat) + len(days), 0

    def count(finished: int) -> None:
        nonlocal done
        done += finished
        progress(done, total)

    items: list[pystac.Item] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for name, kind, noise, dates in (
            ("sentinel-2-l2a", MSI, PIXEL_NOISE, optical),
            ("landsat-c2-l2", OLI, OLI_NOISE, landsat),
        ):
            if not dates:
                continue
            residuals = [satellites.residual(taken) for taken in dates]
            skies = list(pool.map(satellites.sky, dates))
            take = satellites.take_landsat if kind is OLI else satellites.take_optical
            take_all = partial(take, mask_threshold(skies, world.caught))
            for written in pool.map(take_all, range(len(dates)), dates, skies, residuals):
                items += written
                count(1)
            write_optical_dates(truth, name, kind, noise, dates, skies, residuals)
        for item in pool.map(satellites.take_radar, radar_passes):
            items.append(item)
            count(1)
        write_days(truth, surface, years, pool, count)
    calibration = [satellites.calibration(taken) for taken in radar_passes]
    write_radar_dates(truth, radar_passes, calibration)
    title = (
        f"Simulated: {world.ground.size} x {world.ground.size} pixels of 10 m, seed {draws.seed}"
    )
    about = {} if world.default else {"world": world.to_json()}
    write_catalogue(folder, world.ground, items, title, about)


def _seasons(
    world: World, land: Landscape, days: NDArray[np.datetime64], draws: Draws
) -> tuple[Weather, Canopies]:
    """Weather and what stands on the land, on ``days``."""
    spin_up = 0 if world.default else SPIN_UP
    first, last = days[0] - world.season_lag, days[-1] - world.season_lag
    around: NDArray[np.datetime64] = np.arange(first - spin_up, last + spin_up + 1)
    climate = world.climate
    weather = make_weather(around, climate, draws.of(Key.WEATHER), draws.of(Key.YEARS))
    canopies = grow(
        land.cover, around, world.first_crop_year, climate, weather,
        abs(world.ground.middle[0]), draws.of(Key.SEASONS),
    )  # fmt: skip
    part = slice(spin_up, spin_up + len(days))
    return weather.within(part), canopies.within(part)


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


def _is_there(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether the same simulation lies in ``folder``; refuse everything else that may lie there."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    there = Truth.settings(folder)
    if there is None:
        raise InputError(
            f"{folder} exists and is no simulated region; choose another out=, or remove it."
        )
    there, here = ({"climate": DEFAULT, **found} for found in (there, settings))
    unlike = [
        f"{name} is {there.get(name)} there, {value} here"
        for name, value in here.items()
        if there.get(name) != value
    ]
    if unlike:
        raise InputError(
            f"{folder} holds another simulation: {'; '.join(unlike)}. Choose another out=."
        )
    return True
