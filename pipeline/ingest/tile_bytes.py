"""What it takes to fetch windows of a file: the bytes of the tiles that they touch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from math import ceil, floor
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio import DatasetReader

from terralatent.pipeline.ingest.raster import GDAL_OPTIONS, source_window

__all__ = ["bytes_touched", "file_bytes"]

HEADER = int(GDAL_OPTIONS["GDAL_INGESTED_BYTES_AT_OPEN"])
"""Bytes that are fetched when a file is opened; tiles that lie in them need no more."""


def bytes_touched(
    reopen: Callable[..., AbstractContextManager[DatasetReader]],
    windows: Sequence[GeoBox],
    tolerance: float,
    size: int | None = None,
) -> list[int]:
    """Add up for each window the bytes that reading it fetches from a file. Reads no pixels.

    Of a GeoTIFF the sizes of its tiles are known; of others each pixel counts as much as another.

    Args:
        reopen: Opens the file, or its overview ``overview``.
        windows: Windows of a grid.
        tolerance: As for :func:`~terralatent.pipeline.ingest.raster.source_window`.
        size: Bytes of the whole file, where they are known: for files without sizes of tiles.

    Returns:
        For each window, the bytes of one reading of it, header included; the header alone where it
        lies outside.
    """
    found: list[int] = []
    with reopen() as file:
        for window in windows:
            needed, overview = source_window(file, window, tolerance)
            if any(part.stop <= part.start for part in needed.roi_src):
                found.append(_header(file))
                continue
            if overview is None:
                found.append(_touched(file, needed.roi_src, 1.0, size))
                continue
            with reopen(overview=overview) as coarse:
                shrink = file.width / coarse.width
                found.append(_header(file) + _touched(coarse, needed.roi_src, shrink, size))
    return found


def file_bytes(href: str, asset: Mapping[str, Any]) -> int | None:
    """The size of a file, by its item's word (``file:size``) or by this machine's."""
    told = asset.get("file:size")
    if isinstance(told, int) and told > 0:
        return told
    return os.stat(href).st_size if os.path.isfile(href) else None


def _touched(file: DatasetReader, part: Sequence[Any], shrink: float, size: int | None) -> int:
    """Bytes of a part of a file, which is told in pixels ``shrink`` times narrower."""
    rows, columns = file.block_shapes[0]
    (top, bottom), (left, right) = (
        (floor(side.start / shrink), ceil(side.stop / shrink)) for side in part
    )
    if file.driver == "GTiff":
        sizes = [
            _beyond_header(file, x, y)
            for y in range(top // rows, ceil(bottom / rows))
            for x in range(left // columns, ceil(right / columns))
        ]
        return _header(file) + sum(sizes)
    pixels = file.width * file.height
    whole = size or pixels * np.dtype(file.dtypes[0]).itemsize // 2
    return HEADER + whole * (bottom - top) * (right - left) // pixels


def _header(file: DatasetReader) -> int:
    """Bytes that are fetched when a file is opened: all of one that is smaller."""
    rows, columns = file.block_shapes[0]
    last = _tile(file, (file.width - 1) // columns, (file.height - 1) // rows)
    return HEADER if last is None else min(HEADER, sum(last))


def _beyond_header(file: DatasetReader, x: int, y: int) -> int:
    """Bytes of a tile that are not fetched with the header; none of one that is left out."""
    tile = _tile(file, x, y)
    return 0 if tile is None else max(0, sum(tile) - max(tile[0], HEADER))


def _tile(file: DatasetReader, x: int, y: int) -> tuple[int, int] | None:
    """Where a tile begins in a GeoTIFF, and its bytes."""
    begin, size = (
        file.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=1) for what in ("OFFSET", "SIZE")
    )
    return None if begin is None or size is None else (int(begin), int(size))
