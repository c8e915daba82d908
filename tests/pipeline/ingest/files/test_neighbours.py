"""Nearest neighbours on one CRS are GDAL's own, and files that wait to be decoded are only open."""

import threading
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from terralatent.catalogs.documents.access import Access
from terralatent.pipeline.ingest import assets, warp
from terralatent.pipeline.ingest.assets import Band, Source
from tests.pipeline.ingest.reading import read_all

LEFT, TOP, CRS = 500_000.0, 5_600_000.0, "EPSG:32631"
WINDOW = GeoBox((300, 280), Affine(10, 0, LEFT, 0, -10, TOP), CRS)


def write(path: Path, dtype: str, size: float, off: float, side: int, **how: Any) -> Path:
    """A tiled file whose pixels of ``size`` metres begin ``off`` metres right of and below ours."""
    pixels = np.random.default_rng(3).integers(0, 200, (side, side)).astype(dtype)
    place = from_origin(LEFT + off, TOP - off, size, size)
    with rasterio.open(
        path, "w", driver="GTiff", count=1, dtype=dtype, crs=CRS, transform=place, width=side,
        height=side, tiled=True, blockxsize=64, blockysize=64, compress="deflate", **how,
    ) as file:  # fmt: skip
        file.write(pixels, 1)
    return path


@pytest.fixture
def picked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each tile was picked without GDAL, in turn."""
    found: list[bool] = []
    ours = warp._Part._picked

    def noted(self: Any, *what: Any) -> np.ndarray | None:
        here = ours(self, *what)
        found.append(here is not None)
        return here

    monkeypatch.setattr(warp._Part, "_picked", noted)
    return found


def read(path: Path, dtype: str) -> np.ndarray:
    pixels, unread = read_all(
        [Source("one", {"B05": str(path)})], [Band("B05", dtype, 0)], WINDOW,
        access=Access.of(str(path.parent)), threads=1,
    )  # fmt: skip
    assert unread == []
    return pixels["B05"][0]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
@pytest.mark.parametrize(
    ("size", "off", "side"),
    [
        (20.0, 0.0, 150),  # half the resolution
        (20.0, -300.0, 200),  # begins before
        (20.0, 760.0, 40),  # an island
        (60.0, -120.0, 60),  # a sixth
        (20.0, 12.5, 150),  # no edge of it is one of ours
        (10.0, 3.0, 256),  # ours, shifted
        (12.0, 1.0, 256),  # no ratio of integers
        (5.0, 2.0, 620),  # twice as fine
    ],
)
def test_what_is_picked_is_what_gdal_warps(
    dtype: str, size: float, off: float, side: int, picked: list[bool], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = write(tmp_path / "a.tif", dtype, size, off, side, nodata=0)
    ours = read(path, dtype)
    monkeypatch.setattr(warp._Part, "_picked", lambda *_: None)
    np.testing.assert_array_equal(ours, read(path, dtype))
    assert all(picked) or size in (10.0, 12.0)
    assert (ours != 0).any()


def test_where_rounding_would_decide_gdal_does(picked: list[bool], tmp_path: Path) -> None:
    """The centre of each second pixel of ours is an edge of its pixels."""
    read(write(tmp_path / "a.tif", "uint16", 20.0, 5.0, 150), "uint16")
    assert picked == [False]


@pytest.mark.parametrize(("at_once", "most"), [(None, 2), (4, 4), (64, 6)])
def test_files_are_opened_ahead_of_those_that_are_decoded(
    at_once: int | None, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more are decoded than there are threads, nor more open than requests are allowed."""
    counting, opened, decoded = threading.Lock(), [0, 0], [0, 0]

    def change(count: list[int], by: int) -> None:
        with counting:
            count[0] += by
            count[1] = max(count)

    really, decode = assets.open_raster, assets.read_on_grid

    def opening(*what: Any, **how: Any) -> Any:
        change(opened, 1)
        return really(*what, **how)

    def decoding(*what: Any) -> np.ndarray:
        change(decoded, 1)
        try:
            sleep(0.02)
            return decode(*what)
        finally:
            change(decoded, -1)
            change(opened, -1)

    monkeypatch.setattr(assets, "open_raster", opening)
    monkeypatch.setattr(assets, "read_on_grid", decoding)
    path = str(write(tmp_path / "a.tif", "uint16", 10.0, 0.0, 128))
    pixels, unread = read_all(
        [Source(str(n), {"B05": path}) for n in range(24)], [Band("B05", "uint16", 0)], WINDOW,
        access=Access.of(str(tmp_path)), threads=2, at_once=at_once,
    )  # fmt: skip
    assert unread == []
    assert pixels["B05"].shape == (24, *WINDOW.shape)
    assert decoded[1] <= 2
    assert opened[1] <= most


@pytest.mark.parametrize("together", [1, 3, None])
def test_no_more_sources_are_read_than_may_be_in_memory(
    together: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write(tmp_path / "a.tif", "uint16", 10.0, 0.0, 128))
    begun: list[str] = []
    really = assets._Reader.read

    def reading(self: Any, source: Source, band: Band) -> np.ndarray:
        begun.append(source.id)
        return really(self, source, band)

    monkeypatch.setattr(assets._Reader, "read", reading)
    sources = [Source(str(n), {"B05": path}) for n in range(6)]
    places = []
    for place, _ in assets.read_sources(
        sources, [Band("B05", "uint16", 0)], WINDOW, access=Access.of(str(tmp_path)), threads=4,
        together=together, unread=lambda unread: pytest.fail(unread.reason),
    ):  # fmt: skip
        places.append(place)
        assert len(set(begun)) <= place + (together or 6)
    assert places == [*range(6)]
    assert sorted(begun) == [source.id for source in sources]
