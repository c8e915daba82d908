"""What Sentinel-2 observed, and cubes of the same scenes from which some of it is left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from distributed import Client
from numpy.typing import NDArray
from shapely import union_all
from shapely.geometry import box, shape

from terralatent.catalogs.items.item import sensed_at
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import build_cube

if TYPE_CHECKING:
    from benchmarks.gapfill.holdouts import Rotation

__all__ = [
    "SENSOR",
    "PixelObservations",
    "build_once",
    "build_part",
    "cube_of",
    "nearest_observation",
    "prepare",
    "read_observations",
    "rest_of",
]

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

SENSOR = "sentinel-2-l2a"
OPTICAL = ("landsat-c2-l2",)
"""Other sensors whose clear observations make a gap shorter."""

CLEAN = 0.02
CLEAN_DAYS = 16.0
WHOLE = "all"
SAME_PASS = np.timedelta64(10, "m")


@dataclass(frozen=True)
class PixelObservations:
    """Every Sentinel-2 observation at the pixels inside the scenes, row by row of the grid."""

    times: NDArray[np.datetime64]
    """(time,), datetime64[us]."""

    days: Array
    """Days since 1970, (time,)."""

    bands: tuple[str, ...]
    """Their names."""

    values: Array
    """Reflectance, (pixel, time, band), float32; 0 where not clear."""

    clear: Mask
    """(pixel, time)"""

    clean: Mask
    """Clear, and B02 within 0.02 of the median of all clear observations within 16 days,
    (pixel, time): some haze escapes the mask."""

    inside: Mask
    """Which pixels of the grid these are, (y * x,)."""

    shape: tuple[int, int]
    """Of the grid."""

    others: tuple[tuple[Array, Mask], ...]
    """Days (time,) and clear observations (pixel, time) of the other optical sensors."""

    @property
    def share(self) -> Array:
        """Share of the pixels at which each acquisition is clear, (time,)."""
        return self.clear.mean(0)


def prepare(
    catalogue: Path,
    work: Path,
    rotations: tuple[Rotation, ...] = (),
    sensors: Sequence[str] | None = None,
) -> PixelObservations:
    """Build the whole cube in ``work``, and that of each rotation, where it is not yet there.

    Args:
        catalogue: A static catalogue.
        work: Folder of all cubes.
        rotations: Those whose cubes are wanted.
        sensors: Which sensors the cubes have; all by default.
    """
    cubes = work / "cubes"
    region = _region_of(catalogue)
    scenes = search_scenes(catalogue, region, "1980-01-01", "2100-01-01", sensors)
    build_once(cubes / WHOLE, scenes, region, {})
    observations = read_observations(cubes / WHOLE)
    for rotation in rotations:
        hidden = observations.times[list(rotation.hidden)]
        kept = [item for item in scenes.items if not _is_hidden(item, hidden)]
        build_once(cube_of(work, rotation.name), rest_of(scenes, kept), region, asdict(rotation))
    return observations


def build_part(
    catalogue: Path, work: Path, name: str, keeps: Callable[[np.datetime64], bool]
) -> Path:
    """Build a cube in ``work`` of the scenes of some times, where it is not yet there.

    Args:
        catalogue: A static catalogue.
        work: Folder of all cubes.
        name: Of this one.
        keeps: Which times, datetime64[us].
    """
    region = _region_of(catalogue)
    scenes = search_scenes(catalogue, region, "1980-01-01", "2100-01-01")
    timed = [(item, sensed_at(item)) for item in scenes.items]
    kept = [item for item, time in timed if time is not None and keeps(time)]
    build_once(cube_of(work, name), rest_of(scenes, kept), region, {"part": name})
    return cube_of(work, name)


def rest_of(scenes: Scenes, kept: Sequence[Mapping[str, Any]]) -> Scenes:
    """The scenes of those items that are kept."""
    return Scenes.gather(
        kept,
        [SENSORS[name] for name in scenes.requested],
        source=scenes.source,
        period=scenes.period,
        access=scenes.access,
    )


def cube_of(work: Path, rotation: str = WHOLE) -> Path:
    """Where the cube of a rotation lies."""
    return work / "cubes" / rotation


def _is_hidden(item: dict[str, object], hidden: NDArray[np.datetime64]) -> bool:
    time = sensed_at(item)
    alike = item["collection"] in SENSORS[SENSOR].collections and time is not None
    return alike and bool((np.abs(hidden - time) < SAME_PASS).any())


def build_once(
    cube: Path,
    scenes: Scenes,
    region: object,
    plan: dict[str, object],
    client: Client | None = None,
) -> None:
    """Build a cube, unless it is whole there already, of the same scenes by the same plan.

    Args:
        cube: Where; a file beside it says what it is of.
        scenes: All that it is to have.
        region: As for ``build_cube``.
        plan: What else it depends on, as JSON.
        client: Of Dask; processes on this machine by default.
    """
    note = cube.with_suffix(".json")
    # Regions of two seeds or sizes have acquisitions of the same names.
    wanted = json.loads(
        json.dumps({"source": scenes.source, "scenes": scenes.digest, "plan": plan})
    )
    if note.exists() and json.loads(note.read_text()) == wanted:
        return
    note.unlink(missing_ok=True)
    read_observations.cache_clear()
    if cube.exists():
        shutil.rmtree(cube)
    cube.parent.mkdir(parents=True, exist_ok=True)
    print(f"building the cube {cube.name}", flush=True)
    file = cube.with_suffix(".parquet")
    scenes.to_parquet(file)
    build_cube(Scenes.from_parquet(file), region, cube, client=client)
    note.write_text(json.dumps(wanted))


def _region_of(catalogue: Path) -> object:
    """The catalogue's region.geojson, or the box around all its footprints."""
    beside = catalogue / "region.geojson"
    if beside.exists():
        return beside
    items = search_scenes(catalogue, "-180,-90,180,90", "1980-01-01", "2100-01-01").items
    return box(*union_all([shape(item["geometry"]) for item in items]).bounds)


@lru_cache(maxsize=1)
def read_observations(cube: Path) -> PixelObservations:
    """Read every observation of a whole cube; computes."""
    tree = open_cube(cube, clear=True)
    group = tree[SENSOR].to_dataset()
    data = group["data"].transpose("y", "x", "time", "band").to_numpy()
    values = data.reshape(-1, *data.shape[2:])
    clear = np.isfinite(values).all(-1)
    inside = clear.any(1)
    values, clear = values[inside], clear[inside]
    times = group["time"].to_numpy().astype("datetime64[us]")
    days = times.astype(np.int64) / 86_400e6
    others = []
    for name in OPTICAL:
        if name in tree:
            other = tree[name].to_dataset()
            seen = np.isfinite(other["data"]).any("band").transpose("y", "x", "time").to_numpy()
            then = other["time"].to_numpy().astype("datetime64[us]").astype(np.int64) / 86_400e6
            others.append((then, seen.reshape(-1, seen.shape[-1])[inside]))
    return PixelObservations(
        times=times,
        days=days,
        bands=tuple(str(band) for band in group["band"].to_numpy()),
        values=np.nan_to_num(values),
        clear=clear,
        clean=_clean(np.where(clear, values[..., 0], np.nan), clear, days),
        inside=inside,
        shape=(data.shape[0], data.shape[1]),
        others=tuple(others),
    )


def _clean(blue: Array, clear: Mask, days: Array) -> Mask:
    clean = np.zeros_like(clear)
    for at, day in enumerate(days):
        near = blue[:, np.abs(days - day) <= CLEAN_DAYS]
        some = clear[:, at]
        if some.any():
            middle = np.nanmedian(near[some], axis=1)
            clean[some, at] = np.abs(blue[some, at] - middle) < CLEAN
    return clean


def nearest_observation(
    observations: PixelObservations, queries: Array, hidden: Sequence[int] = ()
) -> Array:
    """Days from each query day to the nearest clear observation by any optical sensor that is left,
    (pixel, query).

    Args:
        observations: All of them.
        queries: Days since 1970.
        hidden: Acquisitions of Sentinel-2 that are not there.
    """
    seen = observations.clear.copy()
    seen[:, list(hidden)] = False
    nearest = np.full((len(seen), len(queries)), np.inf)
    for days, clear in ((observations.days, seen), *observations.others):
        for place, day in enumerate(queries):
            away = np.where(clear, np.abs(days - day), np.inf).min(1, initial=np.inf)
            nearest[:, place] = np.minimum(nearest[:, place], away)
    return nearest
