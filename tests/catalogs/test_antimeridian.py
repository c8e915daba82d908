"""Shapes over the 180th meridian are one shape, however a catalogue or a user writes them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box, mapping

from terralatent.catalogs.antimeridian import boxes, distance, on_globe, unbroken
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.item import footprint
from terralatent.catalogs.scenes.aoi import read_aoi
from terralatent.catalogs.scenes.passes import group_items
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS
from tests.made.recorded import recorded
from tests.servers.scripted import Answer, Request, scripted

WEST, EAST, SOUTH, NORTH = 179.25, 180.5, -17.5, -16.25
PARTS = MultiPolygon([box(WEST, SOUTH, 180.0, NORTH), box(-180.0, SOUTH, EAST - 360, NORTH)])
RING = [(WEST, SOUTH), (EAST, SOUTH), (EAST, NORTH), (WEST, NORTH), (WEST, SOUTH)]


def ring(turn: float = 0.0, *, wrapped: bool = False) -> Polygon:
    longitudes = [x + turn - (360.0 if wrapped and x > 180 else 0.0) for x, _ in RING]
    return Polygon(list(zip(longitudes, (y for _, y in RING), strict=True)))


WAYS: dict[str, Any] = {
    "two parts, as RFC 7946 says": PARTS,
    "longitudes beyond 180": ring(),
    "longitudes below -180": ring(-360.0),
    "a belt around the globe": ring(wrapped=True),
    "a belt of many corners": shapely.segmentize(ring(), 0.3),
}
WAYS["a belt of many corners"] = shapely.transform(
    WAYS["a belt of many corners"],
    lambda xy: np.column_stack([np.where(xy[:, 0] > 180, xy[:, 0] - 360, xy[:, 0]), xy[:, 1]]),
)
BOXES = {
    "begins east of its end": [WEST, SOUTH, EAST - 360, NORTH],
    "runs on beyond 180": [WEST, SOUTH, EAST, NORTH],
    "begins below -180": [WEST - 360, SOUTH, EAST - 360, NORTH],
    "with heights": [WEST, SOUTH, 0.0, EAST - 360, NORTH, 900.0],
}


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_of_writing_an_outline_are_one_item_and_one_region(way: str) -> None:
    geometry = mapping(WAYS[way])
    belt = [-179.5, SOUTH, 179.25, NORTH]  # as catalogues compute the box of such an outline
    shape = footprint({"geometry": geometry, "bbox": belt})
    assert shape is not None
    assert shape.equals(PARTS)
    for given_as in (geometry, {"type": "Feature", "geometry": geometry}, WAYS[way]):
        assert read_aoi(given_as).equals(PARTS)


def test_a_region_that_may_be_meant_the_other_way_around_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for way, shape in WAYS.items():
        caplog.clear()
        read_aoi(mapping(shape))
        words = "read as one that crosses the 180th meridian, 1.25 degrees wide"
        assert (words in caplog.text) is way.startswith("a belt")


@pytest.mark.parametrize("way", BOXES)
def test_all_ways_of_writing_a_box_are_one_item_and_one_region(way: str) -> None:
    edges = BOXES[way]
    shape = footprint({"geometry": None, "bbox": edges})
    assert shape is not None
    assert shape.equals(PARTS)
    if len(edges) == 4:
        assert read_aoi(",".join(map(str, edges))).equals(PARTS)


boxes_of_degrees = st.tuples(
    st.floats(-180, 179.9), st.floats(0.01, 170), st.floats(-89, 80), st.floats(0.01, 9)
).map(lambda b: (round(b[0], 3), round(b[0] + b[1], 3), round(b[2], 3), round(b[2] + b[3], 3)))


@settings(deadline=None, max_examples=60)
@given(boxes_of_degrees, st.integers(-1, 1))
def test_a_shape_stays_the_same_places(edges: tuple[float, ...], turn: int) -> None:
    west, east, south, north = edges
    plain = box(west, south, east, north)
    if west + 360 * turn < -360 or east + 360 * turn > 360:
        return
    shape = on_globe(translate(plain, 360.0 * turn))
    assert -180 <= shape.bounds[0] < shape.bounds[2] <= 180
    assert shape.is_valid
    assert shape.area == pytest.approx(plain.area)
    assert on_globe(shape).equals(shape)
    assert unbroken(shape).bounds == pytest.approx(plain.bounds)
    assert sum((e - w) * (n - s) for w, s, e, n in boxes(shape)) == pytest.approx(plain.area)
    beside = on_globe(translate(plain, east - west + 0.5))
    assert distance(shape, beside) == pytest.approx(0.5)


def test_what_does_not_cross_is_left_as_it_is() -> None:
    world = box(-180, -90, 180, 90)
    wide = box(-100, 0, 79, 1)
    hollow = Polygon(box(0, 0, 9, 9).exterior.coords, [box(1, 1, 2, 2).exterior.coords])
    high = box(-179, -80, 179, 80)
    for shape in (
        world,
        wide,
        high,
        hollow,
        box(3, 50, 4, 51),
        box(501_360, 5_629_000, 502_000, 6e6),
    ):
        assert on_globe(shape) is shape


def test_a_hole_and_a_pole() -> None:
    hole = box(-179.75, -17.0, -179.6, -16.5)
    belt = Polygon(ring(wrapped=True).exterior.coords, [hole.exterior.coords])
    assert on_globe(belt).area == pytest.approx(ring().area - hole.area)
    around = Polygon([(-135, 80), (-45, 80), (45, 80), (135, 80), (-135, 80)])
    assert on_globe(around).equals(box(-180, 80, 180, 90))


def test_parts_on_both_sides_that_do_not_touch_it_are_near() -> None:
    islands = MultiPolygon([box(178, -17, 179, -16), box(-179, -17, -178, -16)])
    assert unbroken(islands).bounds == (178, -17, 182, -16)
    assert boxes(islands) == ((178, -17, 179, -16), (-179, -17, -178, -16))
    assert distance(*shapely.get_parts(islands)) == pytest.approx(2.0)


@pytest.mark.parametrize("text", ["4,50,3,51", "170,-17,0,-16"])
def test_four_numbers_that_run_the_long_way_around_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="ends before it begins"):
        read_aoi(text)


def scene(name: str, time: str, longitude: float, **properties: Any) -> dict[str, Any]:
    item = copy.deepcopy(recorded("planetary-computer-sentinel-2-l2a")) | {"id": name}
    del item["properties"]["s2:datastrip_id"]
    item["properties"] |= {"datetime": time, **properties}
    item["geometry"] = mapping(box(longitude - 0.1, SOUTH, longitude + 0.1, NORTH))
    item["bbox"] = list(box(longitude - 0.1, SOUTH, longitude + 0.1, NORTH).bounds)
    return item


@pytest.mark.parametrize("orbit", [43, None])
@pytest.mark.parametrize("east", [180.5, -179.5])
def test_a_pass_is_one_acquisition_on_any_meridian(orbit: int | None, east: float) -> None:
    known = {"sat:relative_orbit": orbit, "s2:product_uri": None}
    items = [
        scene("west", "2024-06-01T22:20:00Z", 179.5, **known, **{"s2:mgrs_tile": "60KXF"}),
        scene("east", "2024-06-01T22:20:03Z", east, **known, **{"s2:mgrs_tile": "01KAB"}),
    ]
    acquisitions, fates = group_items(items, tuple(SENSORS.values()))
    assert [len(a.items) for a in acquisitions["sentinel-2-l2a"]] == [2]
    assert sorted(fate.fate for fate in fates) == ["merged", "used"]


def test_an_api_is_asked_for_the_two_sides_and_not_for_a_belt() -> None:
    item = scene("one", "2024-06-01T22:20:00Z", 180.0)
    item["geometry"] = mapping(PARTS)
    links = [
        {"rel": "search", "href": "HERE/search", "type": "application/geo+json", "method": "POST"}
    ]
    root = {
        "type": "Catalog",
        "id": "api",
        "stac_version": "1.0.0",
        "description": "",
        "links": links,
    }
    root["conformsTo"] = [
        f"https://api.stacspec.org/v1.0.0/{part}" for part in ("core", "item-search", "collections")
    ]
    collection = {
        "type": "Collection", "id": "sentinel-2-l2a", "stac_version": "1.0.0", "description": "",
        "license": "other", "links": [], "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]},
        "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]}},
    }  # fmt: skip
    asked = []

    def answer(request: Request) -> Answer | None:
        content: Any = root
        if request.path == "/search":
            asked.append(json.loads(request.body)["bbox"])
            content = {"type": "FeatureCollection", "features": [item], "links": []}
        elif request.path.endswith("sentinel-2-l2a"):
            content = collection
        elif request.path != "/":
            return None
        text = json.dumps(content).replace(
            "HERE", request.url.rsplit("/", request.path.count("/"))[0]
        )
        return Answer(text.encode(), headers={"content-type": "application/json"})

    with scripted(answer) as server:
        found = search_scenes(server.url, mapping(PARTS), "2024-06-01", "2024-06-30")
    assert asked == [[WEST, SOUTH, 180.0, NORTH], [-180.0, SOUTH, EAST - 360, NORTH]]
    assert [entry["id"] for entry in found.items] == ["one"]


def test_messages_keep_the_digits_that_set_two_boxes_apart(tmp_path: Path) -> None:
    item = scene("one", "2024-06-01T22:20:00Z", 179.8)
    (tmp_path / "one.json").write_text(json.dumps(item))
    with pytest.raises(InputError) as caught:
        search_scenes(tmp_path, "179.90011,-17,179.90013,-16.9", "2024-06-01", "2024-06-30")
    assert "179.90011,-17,179.90013,-16.9" in str(caught.value)
    assert "within 179.7,-17.5,179.9,-16.25" in str(caught.value)
