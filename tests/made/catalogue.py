"""A tiny made-up catalogue of COGs, in the form of the real collections, for tests of the cube."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.transform import array_bounds
from rasterio.warp import transform_bounds
from shapely.geometry import box, mapping

CRS = "EPSG:32631"
LEFT, TOP = 501_360.0, 5_629_680.0
SIDE = 40
"""Pixels of 10 m along y and x of the region."""

FINE, COARSE = ("B02", "B03", "B04", "B08"), ("B05", "B06", "B07", "B8A", "B11", "B12")


def region() -> Any:
    """The region's geometry in degrees, a little inside its 40 x 40 pixels."""
    bounds = (LEFT + 1, TOP - 10 * SIDE + 1, LEFT + 10 * SIDE - 1, TOP - 1)
    return box(*transform_bounds(CRS, "EPSG:4326", *bounds, densify_pts=21))


def write_catalogue(folder: Path) -> Path:
    """Write five Sentinel-2 items over four acquisitions and two of Sentinel-1.

    The second Sentinel-2 acquisition has two items: one on the left 24 columns with a hole of no
    data, one on the right 24; the fourth is there twice, the second time as baseline 05.00.
    """
    rng = np.random.default_rng(7)
    add_sentinel_2(folder, "2018-05-01T10:50:00Z", optical(rng), name="S2_A")
    left, right = optical(rng, columns=24), optical(rng, columns=24)
    for pixels in left.values():
        pixels[4:12, 4:12] = 0
    add_sentinel_2(folder, "2018-05-06T10:50:00Z", left, name="S2_B_left")
    add_sentinel_2(folder, "2018-05-06T10:50:20Z", right, name="S2_B_right", first_column=16)
    add_sentinel_2(folder, "2018-05-11T10:50:00Z", optical(rng), name="S2_C")
    last = optical(rng)
    add_sentinel_2(folder, "2018-05-16T10:50:00Z", last, name="S2_D_N0207")
    raised = {
        band: np.where(pixels == 0, 0, pixels + (1000 if band != "SCL" else 0)).astype(pixels.dtype)
        for band, pixels in last.items()
    }
    add_sentinel_2(
        folder, "2018-05-16T10:50:00Z", raised, name="S2_D_N0500", baseline="05.00", offset=-0.1
    )
    for day in (3, 9):
        power = {
            band: rng.gamma(2.0, 0.05, (SIDE // 2, SIDE // 2)).astype(np.float32)
            for band in ("vv", "vh")
        }
        power["vv"][:3] = np.nan
        add_sentinel_1(folder, f"2018-05-{day:02d}T17:30:00Z", power, name=f"S1_{day}")
    return folder


def optical(rng: np.random.Generator, columns: int = SIDE) -> dict[str, np.ndarray]:
    """Digital numbers of every band and a scene classification with clouds."""
    bands = {band: rng.integers(1, 5000, (SIDE, columns)).astype(np.uint16) for band in FINE} | {
        band: rng.integers(1, 5000, (SIDE // 2, columns // 2)).astype(np.uint16) for band in COARSE
    }
    shape = (SIDE // 2, columns // 2)
    scl = np.where(rng.random(shape) < 0.03, 9, rng.integers(4, 8, shape))
    return {**bands, "SCL": scl.astype(np.uint8)}


def add_sentinel_2(
    folder: Path,
    time: str,
    bands: dict[str, np.ndarray],
    *,
    name: str,
    first_column: int = 0,
    baseline: str = "02.07",
    offset: float = 0.0,
) -> None:
    """Write one item; bands of half the size get pixels of 20 m."""
    scaling = {"scale": 1e-4, "offset": offset, "nodata": 0}
    properties = {
        "constellation": "sentinel-2",
        "s2:processing_baseline": baseline,
        "s2:mgrs_tile": "31UDS" if first_column == 0 else "31UES",
        "eo:cloud_cover": 10.0,
        "created": f"20{baseline[:2]}-01-01T00:00:00Z",
    }
    _add(folder, "sentinel-2-l2a", name, time, bands, first_column, properties, scaling)


def add_sentinel_1(folder: Path, time: str, bands: dict[str, np.ndarray], *, name: str) -> None:
    """Write one ascending item of linear power."""
    properties = {"constellation": "sentinel-1", "sat:orbit_state": "ascending"}
    _add(folder, "sentinel-1-rtc", name, time, bands, 0, properties, {"nodata": "nan"})


def add_landsat(
    folder: Path, time: str, bands: dict[str, np.ndarray], *, name: str, platform: str
) -> None:
    """Write one item with the assets of ``bands`` and ``qa_pixel``, as Collection 2 scales them."""
    properties = {"platform": platform, "landsat:wrs_path": "198", "landsat:wrs_row": "025"}
    scaling = {"scale": 2.75e-5, "offset": -0.2, "nodata": 0}
    _add(folder, "landsat-c2-l2", name, time, bands, 0, properties, scaling)


def _add(
    folder: Path,
    collection: str,
    name: str,
    time: str,
    bands: dict[str, np.ndarray],
    first_column: int,
    properties: dict[str, Any],
    scaling: dict[str, Any],
) -> None:
    place = folder / collection / name
    place.mkdir(parents=True)
    assets = {}
    for band, pixels in bands.items():
        size = 10.0 * SIDE / pixels.shape[0]
        grid = Affine(size, 0, LEFT + 10.0 * first_column, 0, -size, TOP)
        nodata = np.nan if pixels.dtype.kind == "f" else int(band == "qa_pixel")
        with rasterio.open(
            place / f"{band}.tif", "w", driver="GTiff", dtype=pixels.dtype, count=1, crs=CRS,
            height=pixels.shape[0], width=pixels.shape[1], transform=grid, nodata=nodata,
            compress="deflate",
        ) as file:  # fmt: skip
            file.write(pixels, 1)
        about = {} if band in ("SCL", "qa_pixel") else scaling
        assets[band] = {
            "href": f"./{band}.tif",
            "type": "image/tiff; application=geotiff",
            "raster:bands": [{**about, "data_type": str(pixels.dtype)}],
        }
    bounds = transform_bounds(CRS, "EPSG:4326", *array_bounds(*pixels.shape, grid))
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "geometry": mapping(box(*bounds)),
        "bbox": list(bounds),
        "properties": {**properties, "datetime": time},
        "links": [],
        "assets": assets,
    }
    (place / f"{name}.json").write_text(json.dumps(item))
