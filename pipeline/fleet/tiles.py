"""The tiles of a fleet as a GeoParquet table: one row each, read and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.temporary import temporary_folder
from terralatent.pipeline.store.location import is_url
from terralatent.pipeline.store.repository import Store

__all__ = ["AT_ONCE", "KINDS", "Tile", "read_tiles", "require_names", "write_tiles"]

KINDS = ("cube", "latents", "annual", "landcover")
"""Stores of a tile, by which they are called in its folder."""

AT_ONCE = 4
"""Tiles in flight, where nothing else is said."""

NAME = re.compile(r"\w[\w.+-]{0,99}")
"""What a tile may be called: it becomes a folder."""

COLUMNS = {
    "tile": pa.string(),
    "epsg": pa.int32(),
    "left": pa.float64(),
    "bottom": pa.float64(),
    "right": pa.float64(),
    "top": pa.float64(),
    "resolution": pa.float64(),
    "start": pa.string(),
    "end": pa.string(),
    "sensors": pa.list_(pa.string()),
    "folder": pa.string(),
}
"""Beside ``geometry``."""


@dataclass(frozen=True)
class Tile:
    """A part of a region, with a cube and results of its own."""

    name: str
    """Unlike all others of the fleet."""

    epsg: int
    """Code of the CRS of its cube."""

    bounds: tuple[float, float, float, float]
    """Left, bottom, right and top of its cube, in metres: multiples of :attr:`resolution`."""

    resolution: float
    """Side of a pixel, in metres."""

    area: BaseGeometry
    """What is read, in degrees; the cube is the rectangle around it."""

    folder: str
    """Where its stores go: an absolute path, or a URL."""

    start: str = ""
    """First day of its scenes, where the plan says so."""

    end: str = ""
    """Last day."""

    sensors: tuple[str, ...] = ()
    """Their sensors; none: all that the source has."""

    @property
    def crs(self) -> str:
        """As ``EPSG:N``."""
        return f"EPSG:{self.epsg}"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of pixels."""
        left, bottom, right, top = self.bounds
        return (
            round((top - bottom) / self.resolution),
            round((right - left) / self.resolution),
        )

    def store(self, kind: str) -> Store:
        """Its store of a kind, such as ``cube``; asks nothing."""
        return Store.of(f"{self.folder}/{kind}")


def require_names(names: Sequence[str], where: str) -> None:
    """Check what tiles are called.

    Raises:
        InputError: If a name is no folder's, or is there twice.
    """
    seen: set[str] = set()
    for name in names:
        if not NAME.fullmatch(name):
            raise InputError(
                f"{where} calls a tile {name!r}, which is no name of a folder: letters, numbers, "
                "points, dashes and underscores are."
            )
        if name.lower() in seen:  # some file systems do not part them
            raise InputError(f"{where} calls two tiles {name!r}; each wants a name of its own.")
        seen.add(name.lower())


def write_tiles(tiles: Sequence[Tile], out: Path) -> None:
    """Write a table of tiles, whole or not at all.

    Folders below that of the table are kept relative to it, so that a fleet can be moved.

    Raises:
        InputError: If it cannot be written.
    """
    import geopandas  # reading does without it, which saves a second

    refuse_inside_store(out)
    frame = geopandas.GeoDataFrame(
        {
            "tile": [tile.name for tile in tiles],
            "epsg": [tile.epsg for tile in tiles],
            **{
                edge: [tile.bounds[n] for tile in tiles]
                for n, edge in enumerate(("left", "bottom", "right", "top"))
            },
            "resolution": [tile.resolution for tile in tiles],
            "start": [tile.start for tile in tiles],
            "end": [tile.end for tile in tiles],
            "sensors": [list(tile.sensors) for tile in tiles],
            "folder": [_relative(tile.folder, out.parent.absolute()) for tile in tiles],
        },
        geometry=[tile.area for tile in tiles],
        crs="EPSG:4326",
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(f".{out.name}-part", out.parent.absolute()) as aside:
            frame.to_parquet(aside / out.name)
            os.replace(aside / out.name, out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}.") from error


def read_tiles(path: Path) -> tuple[Tile, ...]:
    """Read a table of tiles.

    Raises:
        InputError: If there is none, or it is none of a fleet.
    """
    if not path.is_file():
        raise InputError(f"There is no fleet {str(path)!r}; `terralatent fleet plan` makes one.")
    try:
        table = pq.read_table(path)
        columns = {name: table.column(name).cast(kind) for name, kind in COLUMNS.items()}
        rows = pa.table({**columns, "geometry": table.column("geometry")}).to_pylist()
        areas = shapely.from_wkb([row["geometry"] for row in rows])
        base = path.parent.absolute()
        tiles = tuple(_tile(row, area, base) for row, area in zip(rows, areas, strict=True))
    except (pa.ArrowException, LookupError, TypeError, ValueError, ShapelyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path} is no fleet ({first}); `terralatent fleet plan` makes one."
        ) from error
    if not tiles:
        raise InputError(f"{path} has no tile; plan the fleet anew.")
    require_names([tile.name for tile in tiles], str(path))
    return tiles


def _tile(row: dict[str, Any], area: BaseGeometry, base: Path) -> Tile:
    folder = str(row["folder"])
    return Tile(
        name=str(row["tile"]),
        epsg=int(row["epsg"]),
        bounds=(float(row["left"]), float(row["bottom"]), float(row["right"]), float(row["top"])),
        resolution=float(row["resolution"]),
        area=area,
        folder=folder if is_url(folder) else str(base / folder),
        start=row["start"] or "",
        end=row["end"] or "",
        sensors=tuple(row["sensors"] or ()),
    )


def _relative(folder: str, base: Path) -> str:
    if is_url(folder):
        return folder
    path = Path(folder).absolute()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
