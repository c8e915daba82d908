"""A region and a grid -> the tiles of a fleet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.period import read_period
from terralatent.catalogs.scenes.aoi import Region, read_aoi
from terralatent.catalogs.scenes.region_file import areas_of_frame
from terralatent.catalogs.vector_files import GEOJSON_ENDINGS, VECTOR_FILES, read_vector_file
from terralatent.pipeline.fleet.squares import GRIDS, polygons, squares, zone_of
from terralatent.pipeline.fleet.tiles import Tile, read_tiles, require_names, write_tiles
from terralatent.pipeline.labels import class_names
from terralatent.pipeline.region import grid as pixels_of
from terralatent.pipeline.store.location import is_url

__all__ = ["keep_plan", "plan_path", "plan_tiles"]

IDS = ("tile", "id", "name")
"""Columns of a file of polygons that may say what they are called."""

Named = Iterator[tuple[str, str | None, BaseGeometry]]
"""Of each tile its name, its CRS where it has a UTM zone, and what it covers in degrees."""


def plan_tiles(
    region: Region,
    grid: str | Path,
    folder: str | Path,
    *,
    column: str | None = None,
    clip: bool = False,
    resolution: float = 10.0,
    start: str | None = None,
    end: str | None = None,
    sensors: Sequence[str] = (),
) -> tuple[Tile, ...]:
    """Part a region into tiles. Reads no pixels.

    Args:
        region: As for :func:`~terralatent.catalogs.scenes.aoi.read_aoi`.
        grid: ``mgrs``, ``utm-50km``, or a vector file of polygons, each a tile.
        folder: Below which each tile has a folder of its name.
        column: Of a file: what polygons are called. By default the first that there is of
            :data:`IDS`, else numbers.
        clip: Whether a tile is only what of it lies in the region.
        resolution: Pixel size in metres.
        start: First day of the scenes, to be kept in the plan.
        end: Last day.
        sensors: Of the scenes.

    Raises:
        InputError: If an argument cannot be used, or no tile touches the region.
    """
    aoi = read_aoi(region)
    if start and end:
        read_period(start, end)
    if str(grid) in GRIDS:
        if column is not None:
            raise InputError(f"Tiles of {grid} have names of their own; leave column= out.")
        named = _squares(aoi, str(grid))
    else:
        named = _polygons(Path(grid), column)
    below = str(folder) if is_url(folder) else str(Path(folder).absolute())
    tiles = []
    for name, crs, area in named:
        inside = polygons(area.intersection(aoi))
        if inside.is_empty:
            continue
        area = inside if clip else area
        pixels = pixels_of(area, resolution, crs)
        edges = pixels.extent.boundingbox
        code = None if pixels.crs is None else pixels.crs.epsg
        assert code is not None, "UTM and polar CRS have codes"
        tiles.append(
            Tile(
                name=name,
                epsg=code,
                bounds=(edges.left, edges.bottom, edges.right, edges.top),
                resolution=resolution,
                area=area,
                folder=_below(below, name),
                start=start or "",
                end=end or "",
                sensors=tuple(sensors),
            )
        )
    if not tiles:
        raise InputError(f"No tile of {grid} touches the region.")
    require_names([tile.name for tile in tiles], f"The grid {str(grid)!r}")
    return tuple(tiles)


def plan_path(out: str | Path) -> Path:
    """Where a plan goes.

    Raises:
        InputError: If that is no Parquet file by its name.
    """
    path = Path(out)
    if path.suffix != ".parquet":
        raise InputError(f"{out} is no Parquet file by its name; give one that ends in .parquet.")
    return path


def keep_plan(tiles: Sequence[Tile], path: Path) -> tuple[Tile, ...]:
    """Write a plan, unless it is there; gives its tiles as they are read.

    Raises:
        InputError: If another plan is there, or it cannot be written.
    """
    if path.exists():
        there = read_tiles(path)
        if not _same(there, tiles):
            raise InputError(
                f"{path} is there and holds another plan, of {len(there)} tiles; choose another "
                "out=, or remove it."
            )
        return there
    write_tiles(tiles, path)
    return read_tiles(path)


def _same(before: Sequence[Tile], now: Sequence[Tile]) -> bool:
    """Whether two plans are one; areas may differ in the last digit."""
    return len(before) == len(now) and all(
        (one.name, one.epsg, one.bounds, one.resolution, one.folder, one.start, one.end)
        == (own.name, own.epsg, own.bounds, own.resolution, own.folder, own.start, own.end)
        and one.sensors == own.sensors
        and one.area.equals_exact(own.area, 1e-9)
        for one, own in zip(before, now, strict=True)
    )


def _squares(aoi: BaseGeometry, grid: str) -> Named:
    side, name_of = GRIDS[grid]
    for square, area in squares(aoi, side):
        yield name_of(square), f"EPSG:{square.zone.epsg}", area


def _polygons(path: Path, column: str | None) -> Named:
    """The polygons of a file, each in the UTM zone of its middle."""
    name = f"The grid {str(path)!r}"
    if path.suffix.lower() not in (*GEOJSON_ENDINGS, *VECTOR_FILES):
        raise InputError(
            f"{name} is unknown; give {', '.join(GRIDS)}, or a file of polygons (.geojson, "
            f"{', '.join(VECTOR_FILES)})."
        )
    if not path.is_file():
        raise InputError(f"{name} does not exist.")
    frame = read_vector_file(path, name)
    if frame is None:
        raise InputError(f"{name} has no polygons.")
    frame = frame[frame.geometry.notna() & ~frame.geometry.is_empty]
    kinds = set(frame.geom_type) - {"Polygon", "MultiPolygon"}
    if kinds:
        raise InputError(f"{name} has a {min(kinds)}; tiles are polygons.")
    names = _names(frame, column, name)
    areas = areas_of_frame(frame, name, "save it with one")
    for own, area in zip(names, areas, strict=True):
        zone = zone_of(area)
        yield own, None if zone is None else f"EPSG:{zone.epsg}", area


def _names(frame: Any, column: str | None, name: str) -> list[str]:
    known = [str(own) for own in frame.columns if own != frame.geometry.name]
    if column is not None and column not in known:
        raise InputError(f"{name} has no column {column!r}; it has {', '.join(known) or 'none'}.")
    column = column or next((own for own in IDS if own in known), None)
    if column is None:
        width = len(str(len(frame)))
        return [f"{number:0{width}d}" for number in range(1, len(frame) + 1)]
    if frame[column].isna().any():
        raise InputError(f"{name} has a polygon without a value in the column {column!r}.")
    return [str(own) for own in class_names(frame[column])]


def _below(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else str(Path(folder) / name)
