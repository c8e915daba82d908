"""The cube of a tile: its scenes, from a search of its own or from a file of all, and the build."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.item import footprint
from terralatent.catalogs.period import read_period
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.registry import read_registry
from terralatent.catalogs.sources.sensors import mask_by, pick_sensors, with_offsets
from terralatent.catalogs.sources.sources import Source, resolve_source
from terralatent.pipeline.cube.bands import BandRequest
from terralatent.pipeline.fleet.run import FleetVerb
from terralatent.pipeline.fleet.tiles import Tile
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.store.location import is_url

__all__ = ["ScenesOf", "build_verb", "scenes_in_file", "searched"]

FRESH_S = 12 * 3600.0
"""How long a tile that was searched and built counts as done: a run that was cut short goes on
without a search, and one every night finds what is new."""


@dataclass(frozen=True, eq=False)
class ScenesOf:
    """Where the scenes of tiles come from."""

    find: Callable[[Tile], Scenes]
    """Those of a tile."""

    identity: Mapping[str, Any]
    """Equal for equal scenes, JSON values."""

    lasting: bool
    """Whether the same always gives the same scenes; a search may find more another day."""


def searched(
    source: str | Path | Source,
    start: str | None,
    end: str | None,
    sensors: Sequence[str] | None,
    *,
    offsets: Mapping[str, float] | None = None,
    described: Sequence[str | Path] = (),
    mask: str | None = None,
) -> ScenesOf:
    """Search for the scenes of each tile by itself; what is not given here is as its plan says.

    Raises:
        InputError: If the source, a day or a sensor cannot be used.
    """
    known = read_registry(described)
    place = resolve_source(source, known.sources)
    wanted = with_offsets(pick_sensors(sensors or None, known.sensors), offsets)
    if mask is not None:
        mask_by(wanted, mask)
    if start and end:
        read_period(start, end)

    def find(tile: Tile) -> Scenes:
        first, last = start or tile.start, end or tile.end
        if not (first and last):
            raise InputError("Neither the build nor the plan of the fleet says from when to when.")
        return search_scenes(
            place, tile.area, first, last, list(sensors or tile.sensors) or None,
            offsets=offsets, described=described, mask=mask, report=lambda _: None,
        )  # fmt: skip

    identity = {
        "source": str(source),
        "period": [start, end],
        "sensors": sorted(sensors or ()),
        "offsets": dict(offsets or {}),
        "described": [_digest(Path(path)) for path in described],
        "mask": mask,
    }
    return ScenesOf(find, identity, lasting=False)


def scenes_in_file(
    path: str | Path,
    *,
    source: str | Path | Source | None = None,
    sensors: Sequence[str] | None = None,
    offsets: Mapping[str, float] | None = None,
    described: Sequence[str | Path] = (),
    mask: str | None = None,
) -> ScenesOf:
    """Take of each tile the scenes of one file that touch it.

    Raises:
        InputError: As :meth:`~terralatent.catalogs.scenes.scenes.Scenes.from_parquet` does.
    """
    scenes = Scenes.from_parquet(path, described, source)
    known = {sensor.name: sensor for sensor in scenes.wanted}
    wanted = with_offsets(pick_sensors(sensors or None, known), offsets)
    if mask is not None:
        mask_by(wanted, mask)
    shapes = [footprint(item) for item in scenes.items]
    placed = [number for number, shape in enumerate(shapes) if shape is not None]
    tree = shapely.STRtree([shapes[number] for number in placed])

    def find(tile: Tile) -> Scenes:
        touched = sorted(placed[n] for n in tree.query(tile.area, predicate="intersects"))
        if not touched:
            raise InputError(f"None of the {len(shapes)} items of {path} touches it.")
        own = [sensor for sensor in wanted if not tile.sensors or sensor.name in tile.sensors]
        return Scenes.gather(
            [scenes.items[number] for number in touched],
            own or wanted,
            source=scenes.place,
            period=scenes.period,
            access=scenes.access,
            mask=mask or scenes.mask,
        )

    identity = {
        "file": _digest(Path(path)),
        "sensors": sorted(sensors or ()),
        "offsets": dict(offsets or {}),
        "mask": mask,
    }
    return ScenesOf(find, identity, lasting=True)


def build_verb(
    tiles: Sequence[Tile],
    scenes: ScenesOf,
    *,
    block: int,
    bands: BandRequest,
    requests: int,
    strict_placement: bool,
    memory: str,
    workers: int | None,
) -> FleetVerb:
    """The verb ``build``; arguments as of :func:`~terralatent.pipeline.ingest.build.build_cube`."""

    def run(tile: Tile, client: Client, progress: Progress) -> Any:
        return build_cube(
            scenes.find(tile),
            tile.area,
            tile.store("cube").address,
            resolution=tile.resolution,
            crs=tile.crs,
            block=block,
            bands=bands,
            memory=memory,
            requests=requests,
            strict_placement=strict_placement,
            client=client,
            workers=workers,
            progress=progress,
        )

    return FleetVerb(
        "build",
        "cube",
        {
            "scenes": scenes.identity,
            "block": block,
            "bands": bands,
            "strict_placement": strict_placement,
        },
        run,
        threads=1 + any(is_url(tile.folder) for tile in tiles[:1]),
        fresh_s=None if scenes.lasting else FRESH_S,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
