"""Made-up scenes in the form of the real ones: tiled files, bands of 20 m, an origin of their own.

A handful of files stands for all of them: the others are links to these, under names of their own,
so that no cache takes one for another.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from odc.geo.geom import Geometry
from rasterio import Affine
from rasterio.transform import array_bounds
from rasterio.warp import transform_bounds
from scipy import ndimage
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.sensors import SENSORS

__all__ = ["Made", "make_scenes"]

CRS = "EPSG:32631"
LEFT, TOP = 501_360.0, 5_629_680.0
"""Of the region, in metres; pixels have 10 m."""

FINE, COARSE = ("B02", "B03", "B04", "B08"), ("B05", "B06", "B07", "B8A", "B11", "B12")
MOST_ALIKE = {"fine": 4, "coarse": 6, "scl": 1, "power": 2}
"""Files of each kind that an item has."""

EVERY = {"sentinel-2-l2a": 5, "sentinel-1-asc": 6}
FIRST = date(2019, 1, 1)  # no noise along edges any more


@dataclass(frozen=True)
class Made:
    """A folder of files, and what they are of."""

    folder: Path
    """Where the files are."""

    side: int
    """Pixels of 10 m along y and x of the region."""

    items: Mapping[str, Sequence[dict[str, Any]]]
    """STAC items of each sensor; hrefs are paths below the folder."""

    def region(self, side: int | None = None) -> BaseGeometry:
        """The region in degrees, or as many pixels of its upper left."""
        length = 10.0 * (side or self.side)
        square = box(LEFT + 1, TOP - length + 1, LEFT + length - 1, TOP - 1)
        return Geometry(square, CRS).to_crs("EPSG:4326", resolution=100.0).geom

    def scenes(self, root: str, dates: int | None = None, sensor: str | None = None) -> Scenes:
        """The first ``dates`` acquisitions of each sensor, or of one, served at ``root``."""
        names = list(self.items) if sensor is None else [sensor]
        items = [_at(root, item) for name in names for item in self.items[name][:dates]]
        return Scenes.gather(
            items,
            [SENSORS[name] for name in names],
            source="made up",
            period=(FIRST, FIRST + timedelta(days=4 * 365)),
            access=Access.of(root),
        )


def make_scenes(
    folder: Path,
    *,
    side: int,
    dates: dict[str, int],
    tile: int = 1024,
    shift: int = 300,
    crs: str = CRS,
    copies: int = 3,
) -> Made:
    """Write scenes that reach ``shift`` pixels and more beyond each edge of a region.

    Args:
        folder: Where to; made if need be.
        side: Pixels of 10 m along y and x of the region.
        dates: Acquisitions of each sensor.
        tile: Pixels along y and x of a tile of each file.
        shift: Pixels of 10 m from the first of a file to the first of the region.
        crs: Of the files; of another zone, their origin is near the region's.
        copies: Files of each kind that differ; what repeats itself compresses well.
    """
    rng = np.random.default_rng(7)
    length = side + 2 * shift
    left, top = LEFT - 10 * shift, TOP + 10 * shift
    if crs != CRS:
        bounds = array_bounds(length, length, Affine(10, 0, left, 0, -10, top))
        west, south, east, north = transform_bounds(CRS, crs, *bounds)
        left, top = np.floor(west / 20) * 20, np.ceil(north / 20) * 20
        length = int(np.ceil(max(east - left, top - south) / 20)) * 2
    kinds = {"fine": length, "coarse": length // 2, "scl": length // 2, "power": length}
    needed = {"fine", "coarse", "scl"} if dates.get("sentinel-2-l2a") else set()
    needed |= {"power"} if dates.get("sentinel-1-asc") else set()
    folder.mkdir(parents=True, exist_ok=True)
    for kind in sorted(needed):
        smooth = _surface(kinds[kind], rng)
        size = 10.0 * length / kinds[kind]
        grid = Affine(size, 0, left, 0, -size, top)
        for copy in range(min(copies, max(dates.values()) * MOST_ALIKE[kind])):
            _write(folder / f"{kind}{copy}.tif", _pixels(kind, smooth, rng), grid, crs, tile)
    bounds = transform_bounds(
        crs, "EPSG:4326", *array_bounds(length, length, Affine(10, 0, left, 0, -10, top))
    )
    items = {
        name: [_item(folder, name, n, bounds, copies) for n in range(count)]
        for name, count in dates.items()
    }
    return Made(folder, side, items)


def _at(root: str, item: dict[str, Any]) -> dict[str, Any]:
    """An item whose files are served at ``root``."""
    assets = {
        band: {**asset, "href": f"{root}/{asset['href']}"} for band, asset in item["assets"].items()
    }
    return {**item, "assets": assets}


def _surface(length: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth surface, (length, length), of unit variance."""
    coarse = ndimage.gaussian_filter(rng.standard_normal((length // 16 + 2,) * 2), 2.0)
    smooth: np.ndarray = ndimage.zoom(coarse / coarse.std(), 16, order=1)[:length, :length]
    return smooth.astype(np.float32)


def _pixels(kind: str, smooth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A surface with as much noise as real scenes have: what compresses as they do."""
    if kind == "scl":
        return np.where(smooth > 1.0, 9, 4 + (smooth > 0)).astype(np.uint8)
    if kind == "power":
        speckle = rng.standard_gamma(5.0, smooth.shape, dtype=np.float32) / 5.0
        return (0.05 * np.exp(0.3 * smooth) * speckle).astype(np.float32)
    noise = rng.standard_normal(smooth.shape, dtype=np.float32)
    return np.clip(2000 + 600 * smooth + 60 * noise, 1, None).astype(np.uint16)


def _write(path: Path, pixels: np.ndarray, grid: Affine, crs: str, tile: int) -> None:
    flat = pixels.dtype.kind == "f"
    with rasterio.open(
        path, "w", driver="COG", dtype=pixels.dtype, count=1, crs=crs, height=pixels.shape[0],
        width=pixels.shape[1], transform=grid, nodata=np.nan if flat else 0, blocksize=tile,
        compress="deflate", predictor="FLOATING_POINT" if flat else "STANDARD", level=1,
        overviews="NONE",
    ) as file:  # fmt: skip
        file.write(pixels, 1)


def _item(
    folder: Path, sensor: str, n: int, bounds: tuple[float, float, float, float], copies: int
) -> dict[str, Any]:
    time = datetime(FIRST.year, FIRST.month, FIRST.day, 10, 50, tzinfo=UTC)
    time += timedelta(days=n * EVERY[sensor])
    if sensor == "sentinel-2-l2a":
        kinds = {**dict.fromkeys(FINE, "fine"), **dict.fromkeys(COARSE, "coarse"), "SCL": "scl"}
        properties: dict[str, Any] = {
            "constellation": "sentinel-2",
            "s2:processing_baseline": "02.07",
        }
        about = {"scale": 1e-4, "offset": 0.0, "nodata": 0}
    else:
        kinds = {"vv": "power", "vh": "power"}
        properties = {"constellation": "sentinel-1", "sat:orbit_state": "ascending"}
        about = {"nodata": "nan"}
    assets: dict[str, Any] = {}
    for band, kind in kinds.items():
        name = f"{sensor}/{n:03d}/{band}.tif"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        alike = [other for other, its in kinds.items() if its == kind]
        copy = (n * MOST_ALIKE[kind] + alike.index(band)) % copies
        os.link(folder / f"{kind}{copy}.tif", folder / name)
        dtype = {"scl": "uint8", "power": "float32"}.get(kind, "uint16")
        form = {"data_type": dtype, **({} if kind == "scl" else about)}
        assets[band] = {"href": name, "type": "image/tiff", "raster:bands": [form]}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"{sensor}-{n:03d}",
        "collection": "sentinel-2-l2a" if sensor == "sentinel-2-l2a" else "sentinel-1-rtc",
        "geometry": mapping(box(*bounds)),
        "bbox": list(bounds),
        "properties": {**properties, "datetime": time.isoformat()},
        "links": [],
        "assets": assets,
    }
