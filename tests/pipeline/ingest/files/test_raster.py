"""A file is read as the raster that its item describes, or is named; it reaches no other file."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio import Affine

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.items.georeference import (
    Georeference,
    GeoreferenceError,
    read_georeference,
)
from terralatent.pipeline.ingest.assets import Band, Source, Unread
from tests.pipeline.ingest.reading import read_all
from tests.servers.scripted import LOG_IN

SIDE = 40
GRID = Affine(10.0, 0.0, 501_360.0, 0.0, -10.0, 5_629_680.0)
WINDOW = GeoBox((SIDE, SIDE), GRID, "EPSG:32631")
SECRET = 4242
"""What every pixel of a file is that no item names."""

STATED = Georeference("EPSG:32631", tuple(GRID)[:6], (SIDE, SIDE))


def write(path: Path, pixels: np.ndarray | None = None, **change: Any) -> Path:
    """A GeoTIFF of one band that lies where :data:`WINDOW` does."""
    pixels = np.full((SIDE, SIDE), 7, np.uint16) if pixels is None else pixels
    bands = pixels if pixels.ndim == 3 else pixels[None]
    count, height, width = bands.shape
    profile = {"driver": "GTiff", "crs": "EPSG:32631", "transform": GRID, "nodata": 0, **change}
    with rasterio.open(
        path, "w", dtype=pixels.dtype, count=count, height=height, width=width, **profile
    ) as file:
        file.write(bands)
    return path


def read(
    path: Path, *, dtype: str = "uint16", placement: Georeference = STATED, window: GeoBox = WINDOW
) -> tuple[np.ndarray, list[Unread]]:
    """The file's pixels in the window, and what failed."""
    source = Source("one", {"band": str(path)}, {"band": placement})
    band = Band("band", dtype, 0 if dtype != "float32" else None)
    pixels, unread = read_all(
        [source], [band], window, access=Access.of(str(path.parent)), threads=1
    )
    return pixels["band"][0], unread


def vrt(of: Path, side: int = SIDE) -> str:
    return f"""<VRTDataset rasterXSize="{side}" rasterYSize="{side}"><SRS>EPSG:32631</SRS>
        <GeoTransform>{", ".join(map(str, GRID.to_gdal()))}</GeoTransform>
        <VRTRasterBand dataType="UInt16" band="1"><SimpleSource>
        <SourceFilename relativeToVRT="0">{of}</SourceFilename><SourceBand>1</SourceBand>
        <SrcRect xOff="0" yOff="0" xSize="{SIDE}" ySize="{SIDE}"/>
        <DstRect xOff="0" yOff="0" xSize="{side}" ySize="{side}"/>
        </SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A raster outside of the catalogue's folder."""
    return write(tmp_path / "secret.tif", np.full((SIDE, SIDE), SECRET, np.uint16))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "catalogue").mkdir()
    return tmp_path / "catalogue"


def refused(path: Path, words: str, **options: Any) -> None:
    """Check that a file is named as unread, with a reason, and gives no pixel."""
    pixels, unread = read(path, **options)
    assert [(failure.source, failure.band) for failure in unread] == [("one", "band")]
    assert words in unread[0].reason
    assert unread[0].reason.isprintable()
    assert not (pixels == SECRET).any()
    assert (pixels == 0).all() or np.isnan(pixels).all()


def test_a_good_file_is_read_under_any_name(folder: Path) -> None:
    for name in ("a.tif", "a?b.tif", "a#b.tif", "a%20b.tif", "a b.tif", "http:a.tif", "é.tif", "a"):
        pixels, unread = read(write(folder / name))
        assert unread == []
        np.testing.assert_array_equal(pixels, 7)


def test_a_jpeg_2000_is_read_and_lies_where_it_says_itself(folder: Path) -> None:
    pixels = np.arange(1, SIDE * SIDE + 1, dtype=np.uint16).reshape(SIDE, SIDE)
    lossless = {"driver": "JP2OpenJPEG", "codec": "JP2", "quality": 100, "reversible": "yes"}
    for name in ("a.jp2", "a.tif"):
        path = write(folder / name, pixels, nodata=None, **lossless)
        (folder / f"a.{'j2w' if name == 'a.jp2' else 'tfw'}").write_text("1\n0\n0\n-1\n0\n0")
        result, unread = read(path)
        assert unread == []
        np.testing.assert_array_equal(result, pixels)


# -- other files ----------------------------------------------------------------------------------


def test_a_list_of_other_files_is_none_whatever_it_is_called(folder: Path, secret: Path) -> None:
    wms = """<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/${z}</ServerUrl></Service>
        <DataWindow><UpperLeftX>0</UpperLeftX><UpperLeftY>9</UpperLeftY><LowerRightX>9</LowerRightX>
        <LowerRightY>0</LowerRightY></DataWindow></GDAL_WMS>"""
    for number, text in enumerate(
        (vrt(secret), vrt(secret).replace("\n", ""), wms, "P5 1 1 255 a")
    ):
        (folder / f"{number}.tif").write_text(text)
        refused(folder / f"{number}.tif", "not recognized as being in a supported file format")
    with zipfile.ZipFile(folder / "zip.tif", "w") as packed:
        packed.write(secret, "a.tif")
    refused(folder / "zip.tif", "not recognized")
    (folder / "page.tif").write_bytes(LOG_IN)
    refused(folder / "page.tif", "not recognized")
    (folder / "link.tif").symlink_to(secret)
    refused(folder / "link.tif", "leaves the folder of its catalogue")
    (folder / "directory.tif").mkdir()
    refused(folder / "directory.tif", "not recognized")


@pytest.mark.parametrize("level", [1, 4])
def test_a_geotiff_that_names_another_file_as_its_overviews_is_refused(
    folder: Path, secret: Path, level: int
) -> None:
    """GDAL opens that file by any driver, and reads it where fewer pixels are wanted."""
    side = 4 * SIDE
    path = write(
        folder / "a.tif",
        np.full((side, side), 7, np.uint16),
        tiled=True,
        blockxsize=16,
        blockysize=16,
    )
    (folder / "overviews").write_text(vrt(secret, side // 4))
    with rasterio.open(path, "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(folder / "overviews"))
    with rasterio.open(path) as file:  # or the test shows nothing
        assert (file.read(1, out_shape=(SIDE, SIDE)) == SECRET).all()
    window = GeoBox((side // level, side // level), GRID @ Affine.scale(level), "EPSG:32631")
    refused(path, "it names other files", placement=Georeference(), window=window)


def test_a_geotiff_that_names_other_files_as_its_places_is_refused(
    folder: Path, secret: Path
) -> None:
    path = write(folder / "a.tif")
    with rasterio.open(path, "r+") as file:
        file.update_tags(ns="GEOLOCATION", X_DATASET=str(secret), Y_DATASET=str(secret))
    refused(path, "it names other files")


def test_what_lies_beside_a_file_changes_nothing(folder: Path, secret: Path) -> None:
    pixels = np.arange(1, SIDE * SIDE + 1, dtype=np.uint16).reshape(SIDE, SIDE)
    path = write(folder / "a.tif", pixels)
    for ending, text in {
        ".aux.xml": f"""<PAMDataset><GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform>
            <Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{secret}</MDI></Metadata>
            <PAMRasterBand band="1"><NoDataValue>9</NoDataValue></PAMRasterBand></PAMDataset>""",
        ".ovr": vrt(secret, SIDE // 2),
        ".msk": vrt(secret),
    }.items():
        (folder / f"a.tif{ending}").write_text(text)
    (folder / "a.tfw").write_text("1\n0\n0\n-1\n0\n0\n")
    (folder / "a.prj").write_text("nonsense")

    result, unread = read(path)
    coarse, failed = read(path, window=GeoBox((10, 10), GRID @ Affine.scale(4), "EPSG:32631"))

    assert unread == failed == []
    np.testing.assert_array_equal(result, pixels)
    assert np.isin(coarse, pixels).all()
    assert not (coarse == SECRET).any()


def test_its_own_overviews_are_read(folder: Path) -> None:
    path = write(
        folder / "a.tif",
        np.full((160, 160), 7, np.uint16),
        tiled=True,
        blockxsize=16,
        blockysize=16,
    )
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4])
    with rasterio.open(path, "r+", overview_level=1) as file:
        assert file.shape == (40, 40)
    placement = Georeference("EPSG:32631", STATED.transform, (160, 160))
    for scale in (1, 2, 4, 8):
        window = GeoBox((160 // scale, 160 // scale), GRID @ Affine.scale(scale), "EPSG:32631")
        pixels, unread = read(path, placement=placement, window=window)
        assert unread == []
        np.testing.assert_array_equal(pixels, 7)


# -- rasters that are not what was wanted ---------------------------------------------------------


def small(dtype: str, bands: int = 1) -> np.ndarray:
    return np.full((bands, SIDE, SIDE), 7).astype(dtype)


WRONG: dict[str, tuple[Callable[[Path], Path], str, Mapping[str, Any]]] = {
    "bands": (lambda p: write(p, small("uint16", 3)), "it has 3 bands", {}),
    "float": (lambda p: write(p, small("float32")), "holds float32, uint16 was wanted", {}),
    "wider": (lambda p: write(p, small("uint16")), "uint16, uint8", {"dtype": "uint8"}),
    "signed": (lambda p: write(p, small("int16")), "holds int16, uint16 was wanted", {}),
    "complex": (
        lambda p: write(p, small("complex64")),
        "holds complex64, float32",
        {"dtype": "float32"},
    ),
    "size": (lambda p: write(p, small("uint16")[:, :20]), "its 20 x 40 pixels begin", {}),
    "larger": (lambda p: write(p, np.ones((80, 80), np.uint16)), "its 80 x 80 pixels", {}),
    "crs": (lambda p: write(p, crs="EPSG:32632"), "in EPSG:32632, its item says EPSG:32631", {}),
    "no crs": (lambda p: write(p, crs=None), "does not say where it lies", {}),
    "no place": (lambda p: write(p, transform=None), "does not say where it lies", {}),
    "moved": (
        lambda p: write(p, transform=GRID @ Affine.translation(3, 0)),
        "begin at 501390, 5629680 and end up to 30",
        {},
    ),
    "flat": (
        lambda p: write(p, transform=Affine(10, 10, 5e5, 10, 10, 5e6)),
        "does not say where it lies",
        {},
    ),
    "other crs": (write, "is no CRS", {"placement": Georeference("EPSG:99999999")}),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", WRONG)
def test_a_raster_that_is_not_what_its_item_says_is_named(folder: Path, name: str) -> None:
    make, words, options = WRONG[name]
    path = make(folder / "a.tif")
    refused(path, words, **options)


@pytest.mark.parametrize("compress", [None, "deflate"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
def test_a_file_that_was_cut_short_is_named(
    folder: Path, compress: str | None, share: float
) -> None:
    pixels = np.random.default_rng(0).integers(1, 9999, (SIDE, SIDE)).astype(np.uint16)
    path = write(folder / "a.tif", pixels, compress=compress)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "")


def test_a_file_that_claims_more_than_it_can_hold_is_refused_before_a_pixel_is_read(
    folder: Path,
) -> None:
    def claim(name: str, side: int, tile: int) -> Path:
        with rasterio.open(
            folder / name, "w", driver="GTiff", dtype="uint16", count=1, crs="EPSG:32631",
            width=side, height=side, transform=GRID @ Affine.scale(SIDE / side), tiled=True,
            blockxsize=tile, blockysize=tile, SPARSE_OK=True, BIGTIFF="YES",
        ):  # fmt: skip
            pass
        assert (folder / name).stat().st_size < 1_000_000
        return folder / name

    refused(claim("wide.tif", 262_144, 8192), "it claims 262144 x 262144 pixels")
    refused(claim("tile.tif", 65_536, 65_536), "it has tiles of 65536 x 65536 pixels")
    refused(claim("fine.tif", 131_072, 8192), "131072 x 131072 of its pixels")


def test_a_file_of_no_data_alone_is_no_data_and_no_failure(folder: Path) -> None:
    """It is what most files of a pass are that only touches the window."""
    pixels, unread = read(write(folder / "a.tif", np.zeros((SIDE, SIDE), np.uint16)))
    assert unread == []
    assert not pixels.any()


def test_two_items_of_one_id_stay_two(folder: Path) -> None:
    paths = [write(folder / f"{n}.tif", np.full((SIDE, SIDE), n, np.uint16)) for n in (3, 1, 2)]
    sources = [Source("same", {"band": str(path)}) for path in paths]
    pixels, unread = read_all(
        sources, [Band("band", "uint16", 0)], WINDOW, access=Access(str(folder)), threads=2
    )
    assert unread == []
    assert [values.max() for values in pixels["band"]] == [3, 1, 2]


def test_what_one_item_says_of_a_file_is_not_held_against_another(folder: Path) -> None:
    href = {"band": str(write(folder / "a.tif"))}
    places = [STATED, Georeference("EPSG:32632"), Georeference()]
    sources = [Source(str(n), href, {"band": place}) for n, place in enumerate(places)]
    pixels, unread = read_all(
        sources, [Band("band", "uint16", 0)], WINDOW, access=Access(str(folder)), threads=2
    )
    assert [failure.source for failure in unread] == ["1"]
    assert [values.max() for values in pixels["band"]] == [7, 0, 7]


# -- what items say of places ---------------------------------------------------------------------


def test_the_assets_words_count_before_the_items() -> None:
    shape, transform = [40, 40], [10.0, 0, 5e5, 0, -10.0, 5e6]
    item = {"properties": {"proj:epsg": 32631, "proj:shape": [80, 80], "proj:transform": transform}}
    asset = {"proj:code": "EPSG:32632", "proj:shape": shape}
    assert read_georeference(item, asset) == Georeference("EPSG:32632", tuple(transform), (40, 40))
    assert read_georeference(item, {}) == Georeference("EPSG:32631", tuple(transform), (80, 80))
    assert read_georeference(item, {"proj:transform": [*transform, 0, 0, 1]}).transform == (
        10.0, 0, 5e5, 0, -10.0, 5e6,
    )  # fmt: skip
    nothing = {"proj:epsg": None, "proj:shape": None}
    assert read_georeference({"properties": nothing}, {}) == Georeference()


@pytest.mark.parametrize("name", ["proj:code", "proj:epsg"])
@pytest.mark.parametrize("code", [32631, "32631", 32631.0, " 32631 ", "EPSG:32631"])
def test_a_crs_of_an_odd_type_is_the_crs(name: str, code: object) -> None:
    assert read_georeference({"properties": {name: code}}, {}).crs == "EPSG:32631"


@pytest.mark.parametrize("name", ["proj:code", "proj:epsg"])
@pytest.mark.parametrize("code", [5, 32631.5, True, float("nan"), 10**400, "5", ["x"], {}])
def test_what_is_no_crs_is_named_by_its_own_field(name: str, code: object) -> None:
    with pytest.raises(GeoreferenceError, match=f"its {name} is "):
        read_georeference({"properties": {name: code}}, {})


@pytest.mark.parametrize(
    "stated",
    [
        {"proj:code": 5},
        {"proj:epsg": ["x"]},
        {"proj:shape": "x"},
        {"proj:shape": [1]},
        {"proj:shape": [0, 5]},
        {"proj:shape": [1.5, 2]},
        {"proj:transform": [1, 2, 3]},
        {"proj:transform": [1, 2, 3, 4, 5, None]},
        {"proj:transform": [1, 2, 3, 4, 5, float("nan")]},
        {"proj:transform": [1, 2, 3, 4, 5, 10**400]},
    ],
)
def test_a_place_stated_in_another_form_is_named(stated: dict[str, Any]) -> None:
    with pytest.raises(GeoreferenceError, match="its proj:"):
        read_georeference({"properties": {}}, stated)
