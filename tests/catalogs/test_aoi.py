"""Laws of the region: however it is given, the same geometry; what cannot be used is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geom import Geometry
from pyproj import Transformer
from rasterio.warp import transform_bounds
from shapely.geometry import Point, Polygon, box, mapping

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.aoi import read_aoi
from terralatent.pipeline.region import grid

SQUARE = box(3.0, 50.0, 4.0, 51.0)


def written(folder: Path, content: Any) -> Path:
    path = folder / "region.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@settings(deadline=None)
@given(st.tuples(st.floats(-179, 178), st.floats(0.01, 1), st.floats(-89, 88), st.floats(0.01, 1)))
def test_four_numbers_are_their_rectangle(edges: tuple[float, float, float, float]) -> None:
    west, width, south, height = edges
    text = f"{west!r},{south!r}, {west + width!r},{south + height!r}"
    assert read_aoi(text).equals(box(west, south, west + width, south + height))


@pytest.mark.parametrize("form", ["geometry", "feature", "collection"])
def test_the_forms_of_geojson_are_one_region(form: str, tmp_path: Path) -> None:
    geometry = mapping(SQUARE)
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    content = {
        "geometry": geometry,
        "feature": feature,
        "collection": {"type": "FeatureCollection", "features": [feature]},
    }[form]
    assert read_aoi(written(tmp_path, content)).equals(SQUARE)
    assert read_aoi(content).equals(SQUARE)
    assert read_aoi(SQUARE).equals(SQUARE)


class Offered:
    """What knows nothing but its GeoJSON."""

    __geo_interface__ = mapping(SQUARE)


@pytest.mark.parametrize(
    "region",
    [
        "3.0,50.0,4.0,51.0",
        (3, 50, 4, 51),
        [3.0, 50.0, 4.0, 51.0],
        np.array(SQUARE.bounds),
        geopandas.GeoSeries([SQUARE], crs=4326),
        geopandas.GeoDataFrame({"of": [1, 2]}, geometry=[SQUARE, None], crs="OGC:CRS84"),
        geopandas.GeoSeries([box(3, 50, 3.5, 51), box(3.5, 50, 4, 51)], crs=4326),
        Offered(),
    ],
    ids=lambda region: type(region).__name__,
)
def test_a_region_is_the_same_in_every_library(region: Any) -> None:
    assert read_aoi(region).equals(SQUARE)
    assert grid(read_aoi(region), 1000.0) == grid(read_aoi(mapping(SQUARE)), 1000.0)


@pytest.mark.parametrize("crs", [32631, 3857, 3035])
def test_a_frame_is_its_file(crs: int, tmp_path: Path) -> None:
    frame = geopandas.GeoSeries([SQUARE], crs=4326).to_crs(crs)
    frame.to_file(tmp_path / "region.gpkg")
    geometry = Geometry(frame.iloc[0], f"EPSG:{crs}")
    for same in (frame, frame.to_frame("geometry"), geometry):
        assert read_aoi(same).equals(read_aoi(tmp_path / "region.gpkg"))


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (geopandas.GeoSeries([SQUARE]), r"does not state its CRS: .* gdf.set_crs\("),
        (geopandas.GeoSeries([], crs=4326), "is empty"),
        ((3.0, 50.0, 4.0), "has 3 numbers"),
        (None, "is a NoneType; give minx,miny"),
        (object(), "is a object; give minx,miny"),
    ],
)
def test_what_is_no_region_is_named(region: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_aoi(region)


def test_features_are_united_and_heights_ignored(tmp_path: Path) -> None:
    corners = [(4.0, 50.0, 9.0), (5.0, 50.0, 9.0), (5.0, 51.0, 9.0), (4.0, 51.0, 9.0)]
    features = [
        {"type": "Feature", "properties": None, "geometry": mapping(shape)}
        for shape in (SQUARE, Polygon(corners))
    ]
    path = written(tmp_path, {"type": "FeatureCollection", "features": features})
    assert read_aoi(path).equals(box(3.0, 50.0, 5.0, 51.0))


UTM = "EPSG:32631"
METRES = box(501_360.0, 5_629_280.0, 501_760.0, 5_629_680.0)
IN_DEGREES = box(*transform_bounds(UTM, "EPSG:4326", *METRES.bounds, densify_pts=21))
NAMES = ["EPSG:32631", "urn:ogc:def:crs:EPSG::32631"]


def stating(name: object, content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "crs": {"type": "name", "properties": {"name": name}}}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["collection", "feature", "geometry"])
def test_a_region_files_own_crs_is_obeyed(name: str, where: str, tmp_path: Path) -> None:
    parts: dict[str, Any] = {"geometry": mapping(METRES)}
    if where == "geometry":
        parts["geometry"] = stating(name, parts["geometry"])
    parts["feature"] = {"type": "Feature", "properties": {}, "geometry": parts["geometry"]}
    if where == "feature":
        parts["feature"] = stating(name, parts["feature"])
    content = {"type": "FeatureCollection", "features": [parts["feature"]]}
    if where == "collection":
        content = stating(name, content)
    read = read_aoi(written(tmp_path, content))
    assert read.symmetric_difference(IN_DEGREES).area < 0.01 * IN_DEGREES.area
    assert read_aoi(content).equals(read)
    # The grid is that of the region in its own CRS: no pixel more, none less.
    assert tuple(grid(read, 10.0, UTM).shape) == (40, 40)


def test_a_crs_by_its_code_is_obeyed(tmp_path: Path) -> None:
    crs = {"type": "EPSG", "properties": {"code": 32631}}
    read = read_aoi(written(tmp_path, {**mapping(METRES), "crs": crs}))
    assert read.symmetric_difference(IN_DEGREES).area < 0.01 * IN_DEGREES.area


@pytest.mark.parametrize("name", ["EPSG:4326", "urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4258"])
def test_longitude_comes_first_whatever_the_axes_of_the_crs_are(name: str, tmp_path: Path) -> None:
    read = read_aoi(written(tmp_path, stating(name, mapping(SQUARE))))
    assert read.symmetric_difference(SQUARE).area < 1e-9


def test_a_long_straight_line_of_a_map_is_followed(tmp_path: Path) -> None:
    wide = box(166_000.0, 6_000_000.0, 834_000.0, 6_600_000.0)
    read = read_aoi(written(tmp_path, stating(UTM, mapping(wide))))
    back = Transformer.from_crs("EPSG:4326", UTM, always_xy=True)
    lines = shapely.segmentize(read, 0.01)
    x, y = back.transform(*shapely.get_coordinates(lines).T)
    away = shapely.distance(wide.exterior, shapely.points(x, y))
    assert away.max() < 30.0  # of 668 km


@pytest.mark.parametrize(
    ("crs", "words"),
    [
        ({"type": "name", "properties": {"name": "EPSG:99999"}}, "states a crs that is unknown"),
        ({"type": "link", "properties": {"href": "http://a/b.prj"}}, "states a crs that is unkn"),
        (None, "states a crs that is unknown, null"),
        ("EPSG:4326", "states a crs that is unknown"),
        ({"type": "name", "properties": {"name": UTM}}, "lies outside of its own CRS, WGS 84 / U"),
    ],
)
def test_a_crs_that_cannot_be_obeyed_is_refused(crs: Any, words: str, tmp_path: Path) -> None:
    far = box(1e12, 1e12, 2e12, 2e12) if "outside" in words else SQUARE
    with pytest.raises(InputError, match=words):
        read_aoi(written(tmp_path, {**mapping(far), "crs": crs}))


@pytest.mark.parametrize("crs", ["EPSG:4326", UTM])
@pytest.mark.parametrize("ending", [".gpkg", ".shp", ".kml", ".GPKG"])
def test_vector_files_are_regions(ending: str, crs: str, tmp_path: Path) -> None:
    areas = [SQUARE, box(4.0, 50.0, 5.0, 51.0)] if crs == "EPSG:4326" else [METRES]
    table = geopandas.GeoDataFrame(geometry=areas, crs=crs)
    path = tmp_path / f"region{ending}"
    if ending == ".kml":
        table = table.to_crs("EPSG:4326")
    table.to_file(
        path, driver={".gpkg": "GPKG", ".shp": "ESRI Shapefile", ".kml": "KML"}[ending.lower()]
    )
    wanted = box(3.0, 50.0, 5.0, 51.0) if crs == "EPSG:4326" else IN_DEGREES
    assert read_aoi(path).symmetric_difference(wanted).area < 0.01 * wanted.area
    assert read_aoi(str(path)).geom_type == "Polygon"


def test_a_vector_file_that_is_no_one_region_is_named(tmp_path: Path) -> None:
    table = geopandas.GeoDataFrame(geometry=[SQUARE], crs="EPSG:4326")
    for layer in ("fields", "towns"):
        table.to_file(tmp_path / "two.gpkg", layer=layer, driver="GPKG")
    table.to_file(tmp_path / "bare.shp")
    (tmp_path / "bare.prj").unlink()
    table.to_file(tmp_path / "alone.shp")
    (tmp_path / "alone.shx").unlink()
    (tmp_path / "noise.gpkg").write_bytes(b"SQLite format 3\0" + bytes(range(200)))
    table.iloc[:0].to_file(tmp_path / "empty.gpkg", driver="GPKG")
    geopandas.GeoDataFrame(geometry=[Point(3, 50)], crs="EPSG:4326").to_file(
        tmp_path / "spot.kml", driver="KML"
    )
    for name, words in {
        "two.gpkg": "has the layers fields, towns; export the one",
        "bare.shp": r"does not state its CRS: bare\.prj is missing",
        "alone.shp": "cannot be read as Shapefile: ",
        "noise.gpkg": "cannot be read as GeoPackage: ",
        "empty.gpkg": "is empty",
        "spot.kml": "is a Point of area 0",
        "nowhere.kml": "does not exist",
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            read_aoi(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".gpkg", ".kml", ".shp"])
@pytest.mark.parametrize("begin", ["", "<?xml version='1.0'?>\n", "\ufeff  "])
def test_a_file_that_points_to_another_is_not_followed(
    begin: str, ending: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.gpkg"
    geopandas.GeoDataFrame(geometry=[SQUARE], crs="EPSG:4326").to_file(secret, driver="GPKG")
    path = tmp_path / f"region{ending}"
    path.write_text(
        f"{begin}<OGRVRTDataSource><OGRVRTLayer name='secret'><SrcDataSource>{secret}"
        "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
    )
    with pytest.raises(InputError, match="it does not begin as one does"):
        read_aoi(path)


def test_a_byte_order_mark_is_no_part_of_the_region(tmp_path: Path) -> None:
    path = tmp_path / "region.geojson"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(mapping(SQUARE)).encode())
    assert read_aoi(path).equals(SQUARE)


BROKEN = {
    "no json": ("{", "not valid GeoJSON"),
    "a list": ("[1, 2]", "holds a list"),
    "no features": ({"type": "FeatureCollection", "features": []}, "is empty"),
    "features missing": ({"type": "FeatureCollection"}, "not valid GeoJSON"),
    "no geometry": ({"type": "Feature", "geometry": None}, "is empty"),
    "no type": ({"coordinates": [[0, 0]]}, "not valid GeoJSON"),
    "bad coordinates": ({"type": "Polygon", "coordinates": [[["a", 1]]]}, "not valid GeoJSON"),
    "two corners": ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "not valid GeoJSON"),
    "bow tie": (mapping(Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])), "Self-intersection"),
    "a point": (mapping(Point(3, 50)), "has an area"),
    "metres": (mapping(box(501360, 5629000, 502000, 5629680)), "reproject it to EPSG:4326"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_region_that_cannot_be_used_is_named(name: str, tmp_path: Path) -> None:
    content, words = BROKEN[name]
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=words) as caught:
        read_aoi(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nowhere.geojson", "does not exist"),
        ("1,2,3", "has 3 numbers"),
        ("4,50,3,51", "ends before it begins"),
        ("0,0,500,1", "reproject it"),
        ("3,50,3,51", "has no area"),
        ("nan,0,1,1", "no finite corners"),
        ("", "region is empty"),
    ],
)
def test_text_that_is_no_region_is_named(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_aoi(text)
