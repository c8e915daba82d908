"""Small Sentinel-2 scenes anywhere on the earth, each band one number or an array of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio import Affine

from terralatent.catalogs.sources.sensors import SENSORS

SIDE = 32
"""Pixels of 10 m along y and x of a scene, unless its numbers say otherwise."""


def corner(crs: str, longitude: float, latitude: float) -> tuple[float, float]:
    """The upper left corner of a scene whose middle lies there, on multiples of 10 m."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    return round(x / 10) * 10 - 5.0 * SIDE, round(y / 10) * 10 + 5.0 * SIDE


def outline(crs: str, x: float, y: float, rows: slice = slice(0, SIDE)) -> list[list[float]]:
    """The corners of some rows of a scene in degrees, closed."""
    to = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    top, bottom = y - 10.0 * rows.start, y - 10.0 * rows.stop
    right = x + 10.0 * SIDE
    ring = [(x, top), (right, top), (right, bottom), (x, bottom), (x, top)]
    return [list(to.transform(*point)) for point in ring]


def scene(
    folder: Path,
    name: str,
    time: str,
    *,
    crs: str = "EPSG:32631",
    at: tuple[float, float] = (500_000.0, 5_600_000.0),
    numbers: int | np.ndarray = 2000,
    offset: float = 0.0,
    item: Mapping[str, Any] | None = None,
    **properties: Any,
) -> dict[str, Any]:
    """Write one scene, all of it vegetation, and its item; what is there is overwritten.

    Args:
        folder: Of the catalogue.
        name: Id of the item.
        time: When it was sensed.
        crs: Of its files.
        at: Its upper left corner.
        numbers: Digital numbers of every band, 0 where there is no data.
        offset: That its bands state.
        item: Members that are to be other than they would be, such as ``geometry``.
        properties: More of them, ``__`` for a colon; None takes one out.
    """
    bands = np.broadcast_to(np.asarray(numbers, "uint16"), (SIDE, SIDE))
    files = dict.fromkeys(SENSORS["sentinel-2-l2a"].bands, bands)
    files["SCL"] = np.where(bands == 0, 0, 4).astype("uint8")
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    assets = {}
    for band, pixels in files.items():
        with rasterio.open(
            place / f"{band}.tif", "w", driver="GTiff", dtype=pixels.dtype, count=1, crs=crs,
            height=SIDE, width=SIDE, transform=Affine(10, 0, at[0], 0, -10, at[1]), nodata=0,
        ) as file:  # fmt: skip
            file.write(pixels, 1)
        about = {"nodata": 0, "data_type": str(pixels.dtype)}
        about |= {} if band == "SCL" else {"scale": 1e-4, "offset": offset}
        assets[band] = {"href": f"./{name}/{band}.tif", "raster:bands": [about]}
    stated = {
        "datetime": time,
        "platform": "sentinel-2a",
        "constellation": "sentinel-2",
        "eo:cloud_cover": 1.0,
        "s2:processing_baseline": "05.00",
        "s2:mgrs_tile": "31UDS",
        "sat:relative_orbit": 51,
        "proj:code": crs,
        **{key.replace("__", ":"): value for key, value in properties.items()},
    }
    ring = outline(crs, *at)
    content = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "collection": "sentinel-2-l2a",
        "links": [],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [*np.min(ring, axis=0).tolist(), *np.max(ring, axis=0).tolist()],
        "properties": {key: value for key, value in stated.items() if value is not None},
        "assets": assets,
        **(item or {}),
    }
    (folder / f"{name}.json").write_text(json.dumps(content))
    return content
