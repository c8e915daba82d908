"""Recorded items of public catalogues, each in its own form, and scenes of ours in that form.

Where they come from: tests/data/README.md.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.transform import array_bounds
from rasterio.warp import transform_bounds
from shapely.geometry import box, mapping

from terralatent.catalogs.sources.sensors import SENSORS
from tests.made.catalogue import CRS, LEFT, SIDE, TOP

DATA = Path(__file__).parents[1] / "data"
TIME = "2018-05-01T10:50:31.024000Z"

PC = "planetary-computer/sentinel-2-l2a-05.10"
PC_OLD = "planetary-computer/sentinel-2-l2a-02.12"
EARTH_SEARCH = "earth-search/sentinel-2-l2a"
EARTH_SEARCH_C1 = "earth-search/sentinel-2-c1-l2a"
COPERNICUS = "copernicus/sentinel-2-l2a"


@cache
def _text(name: str) -> str:
    return (DATA / f"{name}.json").read_text()


def recorded(name: str) -> dict[str, Any]:
    """A recorded item, such as ``copernicus/sentinel-2-l2a``."""
    item: dict[str, Any] = json.loads(_text(name))
    return item


def every_recorded() -> list[str]:
    """The names of all."""
    return sorted(str(path.relative_to(DATA).with_suffix("")) for path in DATA.glob("*/*.json"))


def moved(
    name: str,
    hrefs: Mapping[str, str],
    *,
    side: int = SIDE,
    time: str = TIME,
    item_id: str | None = None,
) -> dict[str, Any]:
    """A recorded Sentinel-2 item of which nothing is changed but where and when it is.

    Args:
        name: Of the recorded item.
        hrefs: By our names of bands, their files; they lie on the region of
            ``tests.made.catalogue``.
        side: Pixels of 10 m along it.
        time: When it was sensed.
        item_id: Another id.
    """
    item = recorded(name)
    sensor = SENSORS["sentinel-2-l2a"]
    keys = {**sensor.asset_keys(item["assets"])}
    keys["SCL"] = next(key for key in sensor.quality[0].keys if key in item["assets"])
    bounds = transform_bounds(CRS, "EPSG:4326", *array_bounds(side, side, _grid(10.0)))
    item |= {"geometry": mapping(box(*bounds)), "bbox": list(bounds), "links": []}
    item["id"] = item_id or item["id"]
    properties = item["properties"]
    for key in ("datetime", "start_datetime", "end_datetime"):
        if key in properties:
            properties[key] = time
    if "proj:epsg" in properties:
        properties["proj:epsg"] = 32631
    for band, key in keys.items():
        asset = item["assets"][key]
        asset["href"] = hrefs[band]
        size = 10.0 if asset["proj:shape"][0] == 10980 else 20.0
        asset["proj:shape"] = [int(side * 10 // size)] * 2
        asset["proj:transform"] = list(_grid(size))[:6]
        if "proj:code" in asset:
            asset["proj:code"] = CRS
        asset.pop("proj:bbox", None)
    item["assets"] = {key: item["assets"][key] for key in keys.values()}
    return item


def write_bands(
    folder: Path, bands: Mapping[str, np.ndarray], *, jp2: bool = False, raised: int = 0
) -> dict[str, str]:
    """Write the bands of a scene on the region of ``tests.made.catalogue``; return their paths.

    Args:
        folder: Where.
        bands: Digital numbers by band, 10 or 20 m; 0 is no data.
        jp2: As JPEG 2000 without loss, which cannot state its no data; else as tiled GeoTIFF.
        raised: Is added to digital numbers that are not 0, as baselines from 04.00 on do.
    """
    folder.mkdir(parents=True)
    paths = {}
    for band, pixels in bands.items():
        if band != "SCL":
            pixels = np.where(pixels == 0, 0, pixels + raised).astype(np.uint16)
        size = 10.0 * SIDE / pixels.shape[0]
        how: dict[str, Any] = {"driver": "GTiff", "nodata": 0, "compress": "deflate"}
        if jp2:
            how = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
        paths[band] = str(folder / f"{band}.{'jp2' if jp2 else 'tif'}")
        with rasterio.open(
            paths[band], "w", dtype=pixels.dtype, count=1, crs=CRS, transform=_grid(size),
            height=pixels.shape[0], width=pixels.shape[1], **how,
        ) as file:  # fmt: skip
            file.write(pixels, 1)
    return paths


def write_items(folder: Path, items: Iterable[Mapping[str, Any]]) -> Path:
    """Write items as a folder that is a catalogue."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, item in enumerate(items):
        (folder / f"{number}.json").write_text(json.dumps(item))
    return folder


def changed(item: Mapping[str, Any], **properties: Any) -> dict[str, Any]:
    """A copy with other properties, ``__`` for a colon; None takes one out."""
    made = copy.deepcopy(dict(item))
    made["properties"] |= {name.replace("__", ":"): value for name, value in properties.items()}
    made["properties"] = {k: v for k, v in made["properties"].items() if v is not None}
    return made


def _grid(size: float) -> Affine:
    return Affine(size, 0, LEFT, 0, -size, TOP)
