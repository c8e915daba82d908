"""Masks keep their classes, and what a file says of its own validity counts, however it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from distributed import Client
from odc.geo.geobox import GeoBox
from rasterio import Affine
from rasterio.enums import ColorInterp
from rasterio.enums import Resampling as Overviews
from rasterio.warp import transform

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import Resampling
from terralatent.pipeline.ingest.assets import Band, Source
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import add_sentinel_2, optical, region
from tests.pipeline.ingest.reading import read_all

SIDE = 96
GRID = Affine(20.0, 0.0, 300_000.0, 0.0, -20.0, 5_600_000.0)
ZONE, OTHER = "EPSG:32632", "EPSG:32631"


@contextmanager
def writing(
    path: Path, dtype: str, side: int = SIDE, **how: Any
) -> Iterator[rasterio.io.DatasetWriter]:
    profile = {"driver": "GTiff", "count": 1, "height": side, "width": side, "crs": ZONE, **how}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", dtype=dtype, transform=GRID, **profile) as file,
    ):
        yield file


def window(size: float, crs: str = ZONE) -> GeoBox:
    """The file's pixels in the middle, as pixels of another size on the multiples of it."""
    (x,), (y,) = transform(ZONE, crs, [300_000 + 10 * SIDE], [5_600_000 - 10 * SIDE])
    side = round(12 * SIDE / size)
    left, top = (round(edge / size) * size for edge in (x - side * size / 2, y + side * size / 2))
    return GeoBox((side, side), Affine(size, 0, left, 0, -size, top), crs)


def read(path: Path, band: Band, box: GeoBox) -> np.ndarray:
    pixels, unread = read_all(
        [Source("one", {band.name: str(path)})], [band], box, access=Access(str(path.parent)),
        threads=1,
    )  # fmt: skip
    assert unread == []
    return pixels[band.name][0]


# -- classes and bits -----------------------------------------------------------------------------

AS_A_MASK: dict[str, dict[str, Any]] = {
    "cubic overviews": {"driver": "COG", "blocksize": 128},
    "averaged overviews": {"driver": "COG", "blocksize": 128, "overview_resampling": "average"},
    "JPEG 2000": {"driver": "JP2OpenJPEG", "codec": "JP2", "reversible": "YES", "quality": 100},
}


@pytest.fixture(scope="module", params=["classes", "bits"])
def masks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One mask of two values by turns at random, as a plain file and in other forms."""
    folder = tmp_path_factory.mktemp(request.param)
    low, high = (4, 8) if request.param == "classes" else (21824, 22280)
    pixels = np.where(np.random.default_rng(1).random((256, 256)) < 0.5, low, high)
    dtype = "uint8" if request.param == "classes" else "uint16"
    with writing(folder / "plain", dtype, 256) as file:
        file.write(pixels.astype(dtype), 1)
    for name, how in AS_A_MASK.items():
        rasterio.shutil.copy(folder / "plain", folder / name, **how)
        with rasterio.open(folder / name) as copy:
            np.testing.assert_array_equal(copy.read(1), pixels)
            assert copy.overviews(1)
    return folder


@pytest.mark.parametrize("name", AS_A_MASK)
@pytest.mark.parametrize("crs", [ZONE, OTHER])
@pytest.mark.parametrize("size", [20.0, 60.0, 130.0])
def test_a_mask_is_the_same_in_every_form_at_every_resolution(
    masks: Path, name: str, crs: str, size: float
) -> None:
    with rasterio.open(masks / "plain") as file:
        dtype, values = file.dtypes[0], np.unique(file.read(1))
    band = Band("mask", dtype, 0, classes=True)
    pixels = read(masks / name, band, window(size, crs))
    assert set(np.unique(pixels)) == set(values)
    np.testing.assert_array_equal(pixels, read(masks / "plain", band, window(size, crs)))


def test_the_mask_of_a_coarse_cube_has_the_values_of_the_file(
    workers: Client, tmp_path: Path
) -> None:
    bands = optical(np.random.default_rng(1))
    bands["SCL"] = np.where(np.random.default_rng(2).random((20, 20)) < 0.5, 4, 8).astype(np.uint8)
    add_sentinel_2(tmp_path / "files", "2018-05-01T10:50:00Z", bands, name="one")
    path = tmp_path / "files/sentinel-2-l2a/one/SCL.tif"
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], Overviews.average)
        assert not np.isin(file.read(1, out_shape=(5, 5)), (4, 8)).all()
    searched = search_scenes(tmp_path / "files", region(), "2018-05-01", "2018-05-31")
    build_cube(searched, region(), tmp_path / "cube", resolution=80, block=8, client=workers)
    quality = Store.of(tmp_path / "cube").group()["sentinel-2-l2a/quality"][...]
    assert set(np.unique(quality)) <= {0, 4, 8}
    assert {4, 8} <= set(np.unique(quality))


# -- what a file says of its own validity ---------------------------------------------------------

VALUE = 2000
HOLE = np.zeros((SIDE, SIDE), bool)
HOLE[20:50, 30:70] = True
HOLE[np.random.default_rng(4).random(HOLE.shape) < 0.02] = True


def tagged(path: Path, dtype: str, nodata: float) -> None:
    with writing(path, dtype, nodata=nodata) as file:
        file.write(np.where(HOLE, nodata, VALUE).astype(dtype), 1)
        file.build_overviews([2, 4], Overviews.average)


def untold(path: Path, dtype: str, nodata: float) -> None:
    """Only the item says what no data is."""
    with writing(path, dtype) as file:
        file.write(np.where(HOLE, nodata, VALUE).astype(dtype), 1)


def masked(path: Path, dtype: str, tag: float | None = None) -> None:
    with writing(path, dtype, nodata=tag) as file:
        file.write(np.where(HOLE, 7, VALUE).astype(dtype), 1)
        file.write_mask(~HOLE)
        file.build_overviews([2, 4], Overviews.average)


def with_alpha(path: Path, dtype: str, tag: float | None = None, **how: Any) -> None:
    with writing(path, dtype, count=2, nodata=tag, **how) as file:
        file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
        file.write(np.where(HOLE, 7, VALUE).astype(dtype), 1)
        file.write(np.where(HOLE, 0, 255).astype(dtype), 2)
        if not how.get("driver"):
            file.build_overviews([2, 4], Overviews.nearest)


WORDS: dict[str, Callable[[Path], None]] = {
    "the item's 0": lambda path: untold(path, "uint16", 0),
    "a tag of its own": lambda path: tagged(path, "int16", -9999),
    "a tag beyond the item's": lambda path: tagged(path, "uint16", 65535),
    "a tag that is NaN": lambda path: tagged(path, "float32", np.nan),
    "the lowest float": lambda path: tagged(path, "float32", float(np.finfo("float32").min)),
    "a mask band": lambda path: masked(path, "uint16"),
    "a mask band beside a tag": lambda path: masked(path, "uint16", 65535),
    "alpha": lambda path: with_alpha(path, "uint16"),
    "alpha beside a tag": lambda path: with_alpha(path, "uint16", 65535),
    "alpha of a JPEG 2000": lambda path: with_alpha(
        path, "uint16", driver="JP2OpenJPEG", codec="JP2", reversible="YES", quality=100
    ),
}


@pytest.mark.parametrize("word", WORDS)
def test_what_is_no_data_by_any_word_is_none_in_any_cube(word: str, tmp_path: Path) -> None:
    """The file's value is the same everywhere, so any other is one that nobody wrote."""
    WORDS[word](path := tmp_path / "a.tif")
    same = GeoBox((SIDE, SIDE), GRID, ZONE)
    for dtype, nodata in (("uint16", 0), ("float32", 0 if "own" in word else None)):
        with rasterio.open(path) as file:
            if dtype == "uint16" != file.dtypes[0]:
                continue
        nodata = 0 if word == "the item's 0" else nodata
        kernels: tuple[Resampling, ...] = ("nearest", "cubic", "average")
        for how in kernels:
            band = Band("band", dtype, nodata, how)
            pixels = read(path, band, same)
            missing = np.isnan(pixels) if nodata is None else pixels == nodata
            np.testing.assert_array_equal(missing, HOLE)
            pixels = read(path, band, window(30.0, OTHER))
            data = pixels[~(np.isnan(pixels) if nodata is None else pixels == nodata)]
            np.testing.assert_allclose(data, VALUE, rtol=1e-6)
            assert 0.5 < data.size / pixels.size < 0.99


@pytest.mark.parametrize("word", [word for word in WORDS if "2000" not in word and "0" not in word])
def test_an_overview_has_the_holes_of_the_file(word: str, tmp_path: Path) -> None:
    WORDS[word](path := tmp_path / "a.tif")
    pixels = read(path, Band("band", "float32", None), window(80.0))
    data = pixels[np.isfinite(pixels)]
    np.testing.assert_allclose(data, VALUE, rtol=1e-6)
    assert 0.5 < data.size / pixels.size < 0.95
