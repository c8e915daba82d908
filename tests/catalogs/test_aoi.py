"""Laws of the region: however it is given, the same geometry; what cannot be used is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon, box, mapping

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.aoi import read_aoi

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


def test_features_are_united_and_heights_ignored(tmp_path: Path) -> None:
    corners = [(4.0, 50.0, 9.0), (5.0, 50.0, 9.0), (5.0, 51.0, 9.0), (4.0, 51.0, 9.0)]
    features = [
        {"type": "Feature", "properties": None, "geometry": mapping(shape)}
        for shape in (SQUARE, Polygon(corners))
    ]
    path = written(tmp_path, {"type": "FeatureCollection", "features": features})
    assert read_aoi(path).equals(box(3.0, 50.0, 5.0, 51.0))


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
