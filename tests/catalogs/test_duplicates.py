"""Duplicates of an acquisition, halves of a tile, neighbours, in the forms of the sources."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from typing import Any

import pytest
from shapely.geometry import box, mapping

from terralatent.catalogs.items.item import (
    orbit,
    platform,
    processed_at,
    processing_baseline,
    tile,
)
from terralatent.catalogs.scenes.passes import group_items
from terralatent.catalogs.sources.sensors import SENSORS, Sensor
from terralatent.catalogs.sources.sources import SOURCES, Source
from tests.made.recorded import COPERNICUS, EARTH_SEARCH, EARTH_SEARCH_C1, changed, recorded

PC = "planetary-computer/sentinel-2-l2a-"
HALVES = (f"{PC}half-1", f"{PC}half-2")

Item = dict[str, Any]


def seen(source: str | None) -> list[Sensor]:
    place = Source("any", "https://any.example") if source is None else SOURCES[source]
    return [place.adapt(sensor) for sensor in SENSORS.values()]


def fates(*items: Mapping[str, Any], source: str | None = None) -> dict[str, tuple[str, str]]:
    """Fate and reason of each item; every item has one, and their order does not matter."""
    acquisitions, fates = group_items(items, seen(source))
    shuffled = list(copy.deepcopy(items))
    random.Random(1).shuffle(shuffled)
    assert group_items(shuffled, seen(source))[1] == fates
    assert sorted(fate.item_id for fate in fates) == sorted(str(item["id"]) for item in items)
    used = [item["id"] for own in acquisitions.values() for a in own for item in a.items]
    assert sorted(used) == sorted(f.item_id for f in fates if f.fate != "dropped")
    assert all(fate.reason for fate in fates if fate.fate != "used")
    return {fate.item_id: (fate.fate, fate.reason) for fate in fates}


def only(reasons: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {name: fate for name, (fate, _) in reasons.items()}


@pytest.mark.parametrize(
    ("name", "where", "baseline", "passed", "made"),
    [
        (f"{PC}02.12", "06VVN", "02.12", 43, "2020-10-06T08:05:31"),
        (EARTH_SEARCH, "39QTA", "05.09", 106, "2023-06-28T11:39:55"),
        (EARTH_SEARCH_C1, "38XNF", "05.11", 93, "2025-04-22T10:11:10"),
        (COPERNICUS, "33UWP", "05.11", 122, "2025-03-30T14:59:14"),
    ],
)
def test_each_form_states_tile_baseline_orbit_and_when_it_was_made(
    name: str, where: str, baseline: str, passed: int, made: str
) -> None:
    item = recorded(name)
    assert (tile(item), processing_baseline(item), orbit(item)) == (where, baseline, passed)
    assert processed_at(item).startswith(made)


def test_two_halves_of_a_tile_complete_each_other() -> None:
    left, right = (recorded(name) for name in HALVES)
    assert sorted(only(fates(left, right)).values()) == ["merged", "used"]


def test_footprints_distinguish_halves_from_duplicates_where_no_data_strip_is_stated() -> None:
    left, right = (changed(recorded(name), s2__datastrip_id=None) for name in HALVES)
    assert sorted(only(fates(left, right)).values()) == ["merged", "used"]
    right["geometry"], right["bbox"] = left["geometry"], left["bbox"]
    assert sorted(only(fates(left, right)).values()) == ["dropped", "used"]


def test_neighbours_of_one_pass_are_merged_over_the_border_of_two_zones() -> None:
    names = (f"{PC}05.10", f"{PC}neighbour", f"{PC}other-zone")
    fate_of = only(fates(*(recorded(name) for name in names)))
    assert sorted(fate_of.values()) == ["merged", "merged", "used"]


def again(item: Item, **how: Any) -> Item:
    """The same acquisition, processed once more."""
    made = changed(item, **how)
    made["id"] = f"{item['id']}-again"
    return made


@pytest.mark.parametrize(
    ("name", "how"),
    [
        # Planetary Computer: another product of the same second.
        (f"{PC}02.12", {"s2__processing_baseline": "05.00"}),
        # Earth Search: the time of the tile, which is stated anew, on the other side of a second.
        (EARTH_SEARCH, {"s2__sequence": "1", "datetime": "2023-06-28T07:24:42.011000Z",
                        "s2__generation_time": "2024-01-01T00:00:00Z"}),
        # Copernicus: another name, another version.
        (COPERNICUS, {"processing__version": "05.12",
                      "processing__datetime": "2026-01-01T00:00:00Z"}),
    ],
)  # fmt: skip
def test_of_reprocessed_duplicates_the_newer_is_used(name: str, how: dict[str, str]) -> None:
    old = recorded(name)
    new = again(old, **how)
    fate_of = fates(old, new)
    assert only(fate_of) == {old["id"]: "dropped", new["id"]: "used"}
    assert fate_of[old["id"]][1].startswith(f"the same acquisition as {new['id']}, which is newer")


def test_when_a_product_was_made_counts_and_not_when_a_catalogue_took_it_up() -> None:
    old = recorded(EARTH_SEARCH)
    new = again(old, s2__generation_time="2024-01-01T00:00:00Z", created="2023-01-01T00:00:00Z")
    assert only(fates(old, new))[new["id"]] == "used"


def in_both(item: Item) -> tuple[Item, Item]:
    """One product in both collections of Earth Search, the older as the recorded item is."""
    newer = copy.deepcopy(item)
    newer |= {"collection": "sentinel-2-c1-l2a", "id": "S2A_T39QTA_20230628T071848_L2A"}
    del newer["properties"]["earthsearch:boa_offset_applied"]
    return item, newer


def test_of_the_collections_of_earth_search_the_first_is_used() -> None:
    old, new = in_both(recorded(EARTH_SEARCH))
    fate_of = fates(old, new, source="earth-search")
    assert only(fate_of) == {old["id"]: "dropped", new["id"]: "used"}
    assert fate_of[old["id"]][1].endswith("which is of the collection sentinel-2-c1-l2a")


def test_slices_of_one_radar_pass_are_merged_and_duplicates_dropped() -> None:
    slices = [recorded(f"planetary-computer/sentinel-1-rtc-{n}") for n in (1, 2)]
    assert sorted(only(fates(*slices)).values()) == ["merged", "used"]
    # Processed again, a slice has another box, by some metres.
    duplicate = again(slices[0], created="2026-01-01T00:00:00Z")
    duplicate["bbox"] = [edge + 0.0007 for edge in duplicate["bbox"]]
    fate_of = only(fates(*slices, duplicate))
    assert fate_of[slices[0]["id"]] == "dropped"
    assert sorted(fate_of.values()) == ["dropped", "merged", "used"]


def test_ascending_and_descending_radar_never_mix() -> None:
    down = recorded("planetary-computer/sentinel-1-rtc-1")
    up = changed(recorded("planetary-computer/sentinel-1-rtc-2"), sat__orbit_state="ascending")
    acquisitions, _ = group_items([down, up], seen("planetary-computer"))
    assert {name: [len(a.items) for a in own] for name, own in acquisitions.items()} == {
        "sentinel-1-asc": [1],
        "sentinel-1-desc": [1],
    }


def test_rows_of_one_landsat_path_are_merged() -> None:
    rows = [recorded(f"planetary-computer/landsat-c2-l2-{n}") for n in (1, 2)]
    assert sorted(only(fates(*rows)).values()) == ["merged", "used"]
    rows = [recorded(f"usgs/landsat-c2l2-sr-{n}") for n in (7, 8)]
    assert sorted(only(fates(*rows)).values()) == ["used", "used"]


def test_items_without_calibration_are_dropped_by_name() -> None:
    fate_of = fates(
        recorded("copernicus/sentinel-1-grd"), recorded("planetary-computer/sentinel-1-grd")
    )
    assert {fate for fate, _ in fate_of.values()} == {"dropped"}
    assert all("calibrated" in reason for _, reason in fate_of.values())


# -- two platforms, two receiving stations ---------------------------------------------------------


@pytest.mark.parametrize("apart", ["07:24:42.01", "07:25:12", "07:24:42"])
@pytest.mark.parametrize("orbit", [106, None])
def test_two_platforms_are_two_acquisitions(apart: str, orbit: int | None) -> None:
    """They fly in tandem while the second one is commissioned."""
    first = changed(
        recorded(EARTH_SEARCH), datetime="2023-06-28T07:24:42Z", sat__relative_orbit=orbit
    )
    other = again(
        first, platform="sentinel-2c", datetime=f"2023-06-28T{apart}Z", s2__tile_id="another"
    )
    assert only(fates(first, other)) == {first["id"]: "used", other["id"]: "used"}
    found, _ = group_items([other, first], seen(None))
    assert [a.platform for a in found["sentinel-2-l2a"]] == ["sentinel-2a", "sentinel-2c"]
    times = [a.time for a in found["sentinel-2-l2a"]]
    assert times == sorted(set(times))


def test_tiles_of_two_platforms_of_one_orbit_stay_apart_and_whole() -> None:
    items = []
    for name, second in (("sentinel-2a", 0), ("sentinel-2c", 30)):
        for row in range(3):
            item = changed(
                recorded(f"{PC}05.10"), platform=name, s2__mgrs_tile=f"31U{'DES'[row]}S",
                s2__datastrip_id=None, datetime=f"2024-06-01T10:50:{second + 14 * row % 30:02d}Z",
            )  # fmt: skip
            items.append({**item, "id": f"{name}-{row}"})
    silent = changed(items[1], platform=None)
    found, _ = group_items([*items, {**silent, "id": "silent"}], seen(None))
    passes = found["sentinel-2-l2a"]
    assert [a.platform for a in passes] == ["sentinel-2a", "sentinel-2c"]
    assert sum(len(a.items) for a in passes) >= 6


@pytest.mark.parametrize(
    "strip", [None, "S2A_OPER_MSI_L2A_DS_2BPS_20230628T100652_S20230628T072440"]
)
@pytest.mark.parametrize("part", [0.75, 0.97])
def test_a_duplicate_with_a_part_of_its_own_is_used_behind_the_newer(
    part: float, strip: str | None
) -> None:
    """As two receiving stations have the same seconds, each with rows that the other lacks."""
    west, south, east, north = 51.0, 20.0, 52.0, 21.0
    older = changed(recorded(EARTH_SEARCH), s2__datastrip_id=strip)
    newer = again(older, s2__generation_time="2024-01-01T00:00:00Z")
    older["geometry"] = mapping(box(west, north - part, east, north))
    newer["geometry"] = mapping(box(west, south, east, south + part))
    whole = again(older, s2__generation_time="2020-01-01T00:00:00Z") | {"id": "oldest"}
    fate_of = fates(older, newer, whole)
    assert only(fate_of) == {newer["id"]: "used", older["id"]: "merged", "oldest": "dropped"}
    (acquisition,) = group_items([older, newer], seen(None))[0]["sentinel-2-l2a"]
    assert [item["id"] for item in acquisition.items] == [newer["id"], older["id"]]


LETTERS = {"as it is": str, "small": str.lower, "capital": str.upper, "title": str.title}


@pytest.mark.parametrize("case", LETTERS)
@pytest.mark.parametrize(
    "name",
    ["planetary-computer/sentinel-1-rtc-1", EARTH_SEARCH, "planetary-computer/landsat-c2-l2-1"],
)
def test_enumerations_are_read_in_all_letters(name: str, case: str) -> None:
    """Orbit state, platform, constellation, tile, and the keys that polarisations are."""
    plain, item = recorded(name), recorded(name)
    for key in ("sat:orbit_state", "platform", "constellation", "grid:code", "s2:mgrs_tile"):
        if isinstance(item["properties"].get(key), str):
            item["properties"][key] = LETTERS[case](item["properties"][key])
    item["assets"] = {LETTERS[case](key): asset for key, asset in item["assets"].items()}
    (before,), (after,) = (list(group_items([i], seen(None))[0].items()) for i in (plain, item))
    assert after[0] == before[0]
    facts = ("time", "platform", "orbit", "baseline", "quality", "scalings")
    assert [getattr(after[1][0], f) for f in facts] == [getattr(before[1][0], f) for f in facts]
    assert set(after[1][0].items[0]["assets"]) == set(before[1][0].items[0]["assets"])
    assert tile(item) == tile(plain)


@pytest.mark.parametrize(
    ("written", "name"),
    [("S2A", "sentinel-2a"), ("Sentinel-2A", "sentinel-2a"), ("SENTINEL_2A", "sentinel-2a"),
     ("LANDSAT_8", "landsat-8"), ("Landsat 8", "landsat-8"), ("LC08", "landsat-8"),
     ("our-drone", "our-drone")],
)  # fmt: skip
def test_one_platform_has_one_name(written: str, name: str) -> None:
    assert platform({"properties": {"platform": written}}) == name


@pytest.mark.parametrize("level", ["L1C", "l1", "Level-1C", "L1TP"])
def test_what_is_of_level_1_is_not_taken_for_level_2(level: str) -> None:
    key = "landsat:correction" if level == "L1TP" else "processing:level"
    item = recorded("planetary-computer/landsat-c2-l2-1") | {"collection": "landsat-c2-l1"}
    item["properties"] |= {"constellation": "landsat", key: level}
    ((fate, reason),) = fates(item).values()
    assert (fate, reason) == ("dropped", "it is of processing level 1, landsat-c2-l2 of level 2")
