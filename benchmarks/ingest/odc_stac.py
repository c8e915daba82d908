"""The ways of odc-stac to do what `build` does: the best of them is what it is measured by."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import odc.stac
import pystac
from odc.geo.geobox import GeoBox
from zarr.codecs import ZstdCodec

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.pipeline.ingest.raster import GDAL_OPTIONS

__all__ = ["CHUNKINGS", "computing", "to_zarr"]

OPTIONS = {name: value for name, value in GDAL_OPTIONS.items() if name != "GDAL_HTTP_MULTIRANGE"}
"""GDAL's settings for it: as for a build, but with ranges requested side by side, which it may."""

CHUNKINGS: Mapping[str, Mapping[str, int]] = {
    "1 date": {"time": 1, "y": 2048, "x": 2048},
    "16 dates": {"time": 16, "y": 2048, "x": 2048},
    "all dates": {"time": -1, "y": 2048, "x": 2048},
}


def to_zarr(scenes: Scenes, window: GeoBox, chunks: Mapping[str, int]) -> Callable[[Path], None]:
    """Write the digital numbers as they are: one group a sensor, compressed as a cube is."""

    def run(out: Path) -> None:
        for name in scenes.sensors:
            loaded = _load(scenes, name, window, chunks)
            for band in loaded.data_vars:
                loaded[band].attrs.clear()
            coding = {band: {"compressors": [ZstdCodec(level=3)]} for band in loaded.data_vars}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded.to_zarr(
                    out, group=name, mode="a", zarr_format=3, consolidated=False, encoding=coding
                )

    return run


def computing(scenes: Scenes, window: GeoBox, chunks: Mapping[str, int]) -> Callable[[Path], None]:
    """Read everything into this process, and write nothing."""

    def run(out: Path) -> None:
        for name in scenes.sensors:
            _load(scenes, name, window, chunks).compute()

    return run


def _load(scenes: Scenes, name: str, window: GeoBox, chunks: Mapping[str, int]) -> Any:
    acquisitions = scenes.acquisitions(name)
    items = [
        pystac.Item.from_dict(item) for acquisition in acquisitions for item in acquisition.items
    ]
    mask = acquisitions[0].quality
    odc.stac.configure_rio(cloud_defaults=True, **OPTIONS)
    return odc.stac.load(
        items,
        bands=[*SENSORS[name].bands, *([mask] if mask else [])],
        groupby="id" if name.startswith("sentinel-1") else "solar_day",
        geobox=window,
        chunks=dict(chunks),
        resampling="nearest",
    )
