"""The ways of lazycogs to do what `build` does: many ranges of many files in flight (async-tiff).

It is no dependency, and needs Python 3.12: `pip install lazycogs`. Where it is not installed the
benchmark says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask
import pyarrow as pa
from obstore.store import HTTPStore
from odc.geo.geobox import GeoBox
from zarr.codecs import ZstdCodec

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.sensors import SENSORS

__all__ = ["IS_INSTALLED", "lazily_to_zarr"]

IS_INSTALLED = find_spec("lazycogs") is not None


def lazily_to_zarr(
    scenes: Scenes, window: GeoBox, chunks: Mapping[str, int]
) -> Callable[[Path], None]:
    """Write the digital numbers as :func:`benchmarks.ingest.odc_stac.to_zarr` does.

    On threads of this process: lazycogs holds what no worker can be sent.
    """

    def run(out: Path) -> None:
        with dask.config.set(scheduler="threads"):
            for name in scenes.sensors:
                mask = scenes.acquisitions(name)[0].quality
                # One array has one dtype: the mask is another.
                for bands in ([*SENSORS[name].bands], [mask] if mask else []):
                    if bands:
                        _write(_load(scenes, name, bands, window, chunks), out, name)

    return run


@dataclass(frozen=True)
class _Found:
    """Items in memory, as lazycogs searches them by days; its own way needs a database."""

    items: Sequence[dict[str, Any]]

    def search(self, _: str, *, datetime: str | None = None, **__: object) -> list[dict[str, Any]]:
        day = (datetime or "")[:10]
        return [item for item in self.items if item["properties"]["datetime"].startswith(day)]

    def search_to_arrow(self, _: str, **__: object) -> pa.Table:
        return pa.table({"datetime": [item["properties"]["datetime"] for item in self.items]})


def _load(
    scenes: Scenes, name: str, bands: list[str], window: GeoBox, chunks: Mapping[str, int]
) -> Any:
    import lazycogs

    items = [item for acquisition in scenes.acquisitions(name) for item in acquisition.items]
    first = urlsplit(items[0]["assets"][bands[0]]["href"])
    store = HTTPStore(f"{first.scheme}://{first.netloc}", client_options={"allow_http": True})
    return lazycogs.open(
        "made up",
        bbox=tuple(window.boundingbox),
        crs=str(window.crs),
        resolution=window.resolution.x,
        bands=bands,
        chunks=dict(chunks),
        store=store,
        duckdb_client=_Found(items),
    )


def _write(loaded: Any, out: Path, name: str) -> None:
    dataset = loaded.to_dataset("band")
    coding = {band: {"compressors": [ZstdCodec(level=3)]} for band in dataset.data_vars}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(
            out, group=name, mode="a", zarr_format=3, consolidated=False, encoding=coding
        )
