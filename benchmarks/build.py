"""How long `build` takes beside the best of three chunkings of odc.stac.load(...).to_zarr(...).

    python benchmarks/build.py [SCENES] [--quick] [--rounds 3]

SCENES is a folder with a static catalogue and a region.geojson, ../shared/scenes by default. Both
read the same items over HTTP from `terralatent serve`, on the same two worker processes, and write
the same integers with the same compression. Starting the workers is told apart. One line for each
measurement, the ratio last.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import odc.stac
import pystac
from odc.geo.geobox import GeoBox
from zarr.codecs import ZstdCodec

from terralatent.catalogs.outline import read_outline
from terralatent.catalogs.scenes import Scenes
from terralatent.catalogs.search import search_scenes
from terralatent.catalogs.sensors import SENSORS
from terralatent.catalogs.serve import serving
from terralatent.pipeline.clusters import client_for
from terralatent.pipeline.ingest import build_cube
from terralatent.pipeline.rasters import GDAL_OPTIONS
from terralatent.pipeline.region import grid

CHUNKINGS: Mapping[str, Mapping[str, int]] = {
    "1 date": {"time": 1, "y": 2048, "x": 2048},
    "16 dates": {"time": 16, "y": 2048, "x": 2048},
    "all dates": {"time": -1, "y": 2048, "x": 2048},
}


def main() -> int:
    """Measure and print; 1 where the scenes are absent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[2] / "shared" / "scenes"
    parser.add_argument("scenes", nargs="?", type=Path, default=default)
    parser.add_argument("--quick", action="store_true", help="three months, once")
    parser.add_argument("--rounds", type=int, default=3, help="times each way is measured")
    options = parser.parse_args()
    region = options.scenes / "region.geojson"
    if not region.exists():
        print(f"NOT MEASURED: there are no scenes at {options.scenes}", file=sys.stderr)
        return 1
    end, rounds = ("2017-11-01", 1) if options.quick else ("2018-11-30", options.rounds)

    with serving(options.scenes) as url, tempfile.TemporaryDirectory() as temporary:
        scenes = search_scenes(url, region, "2017-08-01", end)
        print(scenes.summary())
        started = time.perf_counter()
        with client_for("local", workers=2) as client:
            client.run(_warm_up)
            print(f"starting two workers and their imports: {time.perf_counter() - started:.1f} s")
            window = grid(read_outline(region), 10.0)
            ways: dict[str, Callable[[Path], object]] = {
                "build": lambda out: build_cube(scenes, region, out, client=client)
            }
            for name, chunks in CHUNKINGS.items():
                ways[f"odc-stac, {name} a chunk"] = _odc_stac(scenes, window, chunks)
            best = {name: float("inf") for name in ways}
            for turn in range(rounds):
                for name, run in ways.items():
                    began = time.perf_counter()
                    run(Path(temporary) / f"{name} {turn}")
                    best[name] = min(best[name], time.perf_counter() - began)
    for name, seconds in best.items():
        print(f"{name}: {seconds:.2f} s (best of {rounds})")
    fastest = min(seconds for name, seconds in best.items() if name != "build")
    print(f"ratio: {best['build'] / fastest:.2f} (wanted: at most 1.5)")
    return 0


def _odc_stac(scenes: Scenes, window: GeoBox, chunks: Mapping[str, int]) -> Callable[[Path], None]:
    """The same scenes by odc-stac alone: one group a sensor, the digital numbers as they are."""

    def run(out: Path) -> None:
        for name in scenes.sensors:
            acquisitions = scenes.acquisitions(name)
            items = [pystac.Item.from_dict(item) for one in acquisitions for item in one.items]
            mask = acquisitions[0].quality
            odc.stac.configure_rio(cloud_defaults=True, **GDAL_OPTIONS)
            loaded = odc.stac.load(
                items,
                bands=[*SENSORS[name].bands, *([mask] if mask else [])],
                groupby="id" if name.startswith("sentinel-1") else "solar_day",
                geobox=window,
                chunks=dict(chunks),
                resampling="nearest",
            )
            for band in loaded.data_vars:
                loaded[band].attrs.clear()
            coding = {band: {"compressors": [ZstdCodec(level=3)]} for band in loaded.data_vars}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded.to_zarr(
                    out, group=name, mode="a", zarr_format=3, consolidated=False, encoding=coding
                )

    return run


def _warm_up() -> None:
    import icechunk  # noqa: F401
    import odc.stac
    import rasterio

    import terralatent.pipeline.ingest  # noqa: F401

    with rasterio.Env():
        odc.stac.load  # noqa: B018


if __name__ == "__main__":
    sys.exit(main())
