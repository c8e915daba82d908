"""Laws of the search: each acquisition once, no item unaccounted for, failures clearly named."""

from __future__ import annotations

import copy
import json
import pickle
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rustac
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box, mapping

from terralatent.catalogs.documents import fetch as documents
from terralatent.catalogs.documents.serve import serving
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes import duplicates
from terralatent.catalogs.scenes.passes import group_items
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.catalogs.sources.sources import SOURCES, Source, resolve_source
from tests.made.recorded import DATA, recorded

ALL = tuple(SENSORS.values())
PLACE = "-148,60.5,-147.9,60.6"


def sentinel_2(name: str, time: str = "2019-06-29T21:25:29Z", **own: Any) -> dict[str, Any]:
    """A Sentinel-2 item in the form of Planetary Computer; a property of None is left out."""
    item = recorded("planetary-computer-sentinel-2-l2a") | {"id": name}
    del item["properties"]["s2:datastrip_id"]
    item["properties"] |= {"datetime": time} | {k.replace("__", ":"): v for k, v in own.items()}
    item["properties"] = {k: v for k, v in item["properties"].items() if v is not None}
    return item


def group(*items: dict[str, Any]) -> tuple[list[Any], dict[str, str]]:
    """The only sensor's acquisitions, and the fate of each item by id."""
    acquisitions, fates = group_items(items, ALL)
    assert len(acquisitions) <= 1
    return [a for own in acquisitions.values() for a in own], {f.item_id: f.fate for f in fates}


# -- each acquisition once -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"s2__processing_baseline": "02.12"}, {"s2__processing_baseline": "05.00"}),
        ({"s2__processing_baseline": "05.09"}, {"s2__processing_baseline": "05.10"}),
        ({"created": "2019-07-01T00:00:00Z"}, {"created": "2023-01-10T00:00:00Z"}),
        ({"created": "2023-01-10T01:00:00+02:00"}, {"created": "2023-01-10T00:00:00Z"}),
    ],
)
def test_of_two_copies_the_newest_is_used(older: dict[str, str], newer: dict[str, str]) -> None:
    acquisitions, fates = group(sentinel_2("z-older", **older), sentinel_2("a-newer", **newer))
    assert fates == {"z-older": "dropped", "a-newer": "used"}
    assert [item["id"] for item in acquisitions[0].items] == ["a-newer"]


def test_tiles_of_one_pass_are_merged_and_copies_of_each_dropped() -> None:
    items = [
        sentinel_2(f"{tile}-{baseline}", s2__mgrs_tile=tile, s2__processing_baseline=baseline)
        for tile in ("06VVN", "06VUN")
        for baseline in ("02.12", "05.00")
        if (tile, baseline) != ("06VUN", "05.00")
    ]
    acquisitions, fates = group(*items)
    assert fates == {"06VVN-02.12": "dropped", "06VVN-05.00": "used", "06VUN-02.12": "merged"}
    assert len(acquisitions) == 1
    assert [s.offset for s in acquisitions[0].scalings] == [-0.1, 0.0]
    assert acquisitions[0].baseline == "02.12+05.00"


def test_halves_of_a_tile_from_two_data_strips_complete_each_other() -> None:
    def half(name: str, start: str) -> dict[str, Any]:
        return sentinel_2(name, s2__datastrip_id=f"S2B_OPER_MSI_L2A_DS_ESRI_1_S{start}_N02.12")

    acquisitions, fates = group(half("one", "20190629T212530"), half("two", "20190629T212612"))
    assert fates == {"one": "used", "two": "merged"}
    again, fates = group(half("one", "20190629T212530"), half("two", "20190629T212532"))
    assert sorted(fates.values()) == ["dropped", "used"]
    assert len(acquisitions) == len(again) == 1


def test_passes_of_one_day_stay_apart_by_orbit_or_by_time() -> None:
    unknown = {"sat__relative_orbit": None, "s2__product_uri": None}
    times = ["2019-06-29T21:25:29Z", "2019-06-29T21:25:53Z", "2019-06-29T22:10:00Z"]
    acquisitions, _ = group(*(sentinel_2(time, time, **unknown) for time in times))
    assert [len(a.items) for a in acquisitions] == [2, 1]
    orbits = zip(times, (43, 43, 143), strict=True)
    acquisitions, _ = group(*(sentinel_2(t, t, sat__relative_orbit=o) for t, o in orbits))
    assert [(a.orbit, len(a.items)) for a in acquisitions] == [(43, 2), (143, 1)]


def test_the_solar_day_not_the_day_of_greenwich_counts() -> None:
    """At 148 degrees west the solar day begins near 10 h UTC."""
    times = ["2019-06-29T23:59:50Z", "2019-06-30T00:00:10Z"]
    acquisitions, _ = group(*(sentinel_2(time, time) for time in times))
    assert [len(a.items) for a in acquisitions] == [2]
    assert acquisitions[0].time == np.datetime64("2019-06-29T23:59:50", "us")


def test_an_acquisition_is_small_and_keyed_by_the_sensors_own_names() -> None:
    item = recorded("earth-search-sentinel-2-l2a")
    (acquisition,), _ = group(item)
    sensor = SENSORS["sentinel-2-l2a"]
    assert tuple(acquisition.items[0]["assets"]) == (*sensor.bands, "SCL")
    assert acquisition.items[0]["assets"]["B08"]["href"] == item["assets"]["nir"]["href"]
    facts = acquisition.platform, acquisition.orbit, acquisition.baseline
    assert facts == ("sentinel-2a", -1, "05.09")
    assert acquisition.cloud_cover == pytest.approx(3.01)
    assert np.isnan(acquisition.incidence)
    assert pickle.loads(pickle.dumps(acquisition)).items == acquisition.items


def test_ascending_and_descending_never_mix() -> None:
    up = recorded("planetary-computer-sentinel-1-rtc")
    down, silent = copy.deepcopy(up) | {"id": "down"}, copy.deepcopy(up) | {"id": "silent"}
    down["properties"]["sat:orbit_state"] = "descending"
    del silent["properties"]["sat:orbit_state"]
    acquisitions, fates = group_items([up, down, silent], ALL)
    assert {name: len(own) for name, own in acquisitions.items()} == {
        "sentinel-1-asc": 1,
        "sentinel-1-desc": 1,
    }
    reasons = {fate.item_id: fate.reason for fate in fates if fate.fate == "dropped"}
    assert reasons == {"silent": "it does not state whether its orbit is ascending or descending"}


SPOILED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "bands": (lambda i: i.update(assets={"SCL": i["assets"]["SCL"]}), "no asset for B02, B03, "),
    "mask": (lambda i: i["assets"].pop("SCL"), "no mask band SCL"),
    "scale": (lambda i: i["properties"].pop("s2:processing_baseline"), "neither an offset"),
    "time": (lambda i: i["properties"].update(datetime="soon"), "no readable datetime"),
    "zone": (lambda i: i["properties"].update(datetime="0001-01-01T00:00:00+14:00"), "datetime"),
    "place": (lambda i: i.update(geometry=None, bbox=None), "no readable geometry"),
    "assets": (lambda i: i.update(assets=["B02"]), "no readable assets"),
    "href": (lambda i: i["assets"]["B02"].pop("href"), "the href of its B02: it is missing"),
    "virtual": (lambda i: i["assets"]["B02"].update(href="/vsicurl/http://a/b"), "a virtual file"),
    "properties": (lambda i: i.update(properties=None), "no readable datetime"),
    "sensor": (lambda i: i.update(collection="x", properties={}), "belongs to none of"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_an_item_that_cannot_be_used_is_dropped_by_name(name: str) -> None:
    spoil, words = SPOILED[name]
    bad, good = sentinel_2("bad", s2__mgrs_tile="06VUN"), sentinel_2("good")
    spoil(bad)
    acquisitions, fates = group_items([bad, good], ALL)
    assert [item["id"] for item in acquisitions["sentinel-2-l2a"][0].items] == ["good"]
    (dropped,) = [fate for fate in fates if fate.fate == "dropped"]
    assert dropped.item_id == "bad"
    assert words in dropped.reason


def test_what_is_left_out_is_summed_up_by_reason_with_an_example() -> None:
    items = [sentinel_2("good"), sentinel_2("older", s2__processing_baseline="02.12")]
    for n, name in enumerate(["bands", "bands", *SPOILED]):
        items.append(sentinel_2(f"bad-{n}-{name}", s2__mgrs_tile="06VUN"))
        SPOILED[name][0](items[-1])
    period = (date(2019, 1, 1), date(2019, 12, 31))
    found = Scenes.gather(items, ALL, source="here", period=period)
    lines = found.left_out()
    assert lines[0] == (
        "left out: 3 items of sentinel-2-l2a, such as bad-0-bands: it has no asset for "
        + ", ".join(SENSORS["sentinel-2-l2a"].bands)
    )
    assert all("such as bad-" in line for line in lines[1:-1])
    assert not any("older" in line or "good" in line for line in lines)
    counts = [int(line.split()[2]) for line in lines]
    dropped = sum(fate.fate == "dropped" for fate in found.fates)
    assert sum(counts) == dropped - 1  # all but the copy


ITEMS = st.builds(
    lambda minute, tile, orbit, baseline, broken: (minute, tile, orbit, baseline, broken),
    st.integers(0, 4000),
    st.sampled_from(["06VVN", "06VUN"]),
    st.sampled_from([None, 43, 143]),
    st.sampled_from(["02.12", "05.00", "05.10"]),
    st.sampled_from([False, False, False, True]),
)


@settings(deadline=None, max_examples=8)
@given(st.lists(ITEMS, min_size=1, max_size=12), st.integers(0, 99))
def test_every_item_has_one_fate_whatever_their_order(drawn: list[Any], seed: int) -> None:
    items = []
    for number, (minute, tile, orbit, baseline, broken) in enumerate(drawn):
        time = str(np.datetime64("2019-06-29T00:00") + np.timedelta64(minute, "m")) + ":00Z"
        own = {"s2__mgrs_tile": tile, "s2__processing_baseline": baseline}
        items.append(sentinel_2(f"i{number:02d}", time, sat__relative_orbit=orbit, **own))
        if broken:
            del items[-1]["assets"]["B02"]
    acquisitions, fates = group_items(items, ALL)
    passes = acquisitions.get("sentinel-2-l2a", ())

    assert sorted(fate.item_id for fate in fates) == [item["id"] for item in items]
    used = [item["id"] for acquisition in passes for item in acquisition.items]
    assert sorted(used) == sorted(f.item_id for f in fates if f.fate != "dropped")
    assert sum(fate.fate == "used" for fate in fates) == len(passes)
    times = [acquisition.time for acquisition in passes]
    assert times == sorted(set(times))
    random.Random(seed).shuffle(items)
    assert group_items([*items, copy.deepcopy(items[0])], ALL) == (acquisitions, fates)


# -- kept as GeoParquet ---------------------------------------------------------------------------


def test_scenes_read_back_are_the_scenes_written(tmp_path: Path) -> None:
    items = [recorded(path.stem) for path in sorted(DATA.glob("*.json"))]
    items.append(sentinel_2("timeless", "never"))
    items.append(sentinel_2("older", s2__processing_baseline="01.00", eo__cloud_cover=None))
    period = tuple(np.array(["2018-01-01", "2026-01-01"], "datetime64[D]").tolist())
    scenes = Scenes.gather(items, ALL, source="here", period=period)
    scenes.to_parquet(tmp_path / "scenes.parquet")
    again = Scenes.from_parquet(tmp_path / "scenes.parquet")

    assert [path.name for path in tmp_path.iterdir()] == ["scenes.parquet"]
    assert sorted(map(str, again.fates)) == sorted(map(str, scenes.fates))
    assert again.digest == scenes.digest
    assert again.sensors == scenes.sensors == ("sentinel-2-l2a", "sentinel-1-asc", "landsat-c2-l2")
    for sensor in scenes.sensors:
        for a, b in zip(scenes.acquisitions(sensor), again.acquisitions(sensor), strict=True):
            assert (a.time, a.scalings, a.orbit) == (b.time, b.scalings, b.orbit)
            for before, after in zip(a.items, b.items, strict=True):
                assert {k: a["href"] for k, a in before["assets"].items()} == {
                    k: a["href"] for k, a in after["assets"].items()
                }
    same = ("place", "period", "wanted")
    assert [getattr(again, name) for name in same] == [getattr(scenes, name) for name in same]


def test_a_file_that_holds_no_scenes_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_text("nothing")
    with pytest.raises(InputError, match=r"bad\.parquet cannot be read as stac-geoparquet"):
        Scenes.from_parquet(tmp_path / "bad.parquet")
    with pytest.raises(InputError, match="There is no file of scenes"):
        Scenes.from_parquet(tmp_path / "none.parquet")


def test_a_file_of_others_may_name_files_beside_it_and_public_hosts(tmp_path: Path) -> None:
    items = [sentinel_2(name, f"2019-07-{n:02d}T21:25:29Z") for n, name in enumerate(HOSTS, 1)]
    for item, root in zip(items, HOSTS.values(), strict=True):
        for band, asset in item["assets"].items():
            asset["href"] = f"{root.replace('HERE', str(tmp_path))}/{band}.tif"
    rustac.write_sync(str(tmp_path / "others.parquet"), items, format="parquet")
    scenes = Scenes.from_parquet(tmp_path / "others.parquet")
    fates = {fate.item_id: fate.fate for fate in scenes.fates}
    assert fates == {"beside": "used", "public": "used", "above": "dropped", "private": "dropped"}
    scenes.to_parquet(tmp_path / "below" / "kept.parquet")
    assert Scenes.from_parquet(tmp_path / "below" / "kept.parquet").access == scenes.access


HOSTS = {"beside": "HERE/x", "public": "https://host.org", "above": "/data", "private": "http://a"}


@pytest.mark.parametrize(
    "change",
    [
        {"period": ["soon", "later"]},
        {"period": 5},
        {"aside": 5},
        {"aside": [5]},
    ],
)
def test_a_file_of_scenes_whose_facts_are_damaged_is_named(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    period = (date(2019, 1, 1), date(2019, 12, 31))
    path = tmp_path / "scenes.parquet"
    Scenes.gather([sentinel_2("one")], ALL, source="here", period=period).to_parquet(path)
    table = pq.read_table(path)
    key = b"terralatent:search"
    facts = {**json.loads(table.schema.metadata[key]), **change}
    metadata = {**table.schema.metadata, key: json.dumps(facts).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(InputError, match=r"scenes\.parquet'? is damaged"):
        Scenes.from_parquet(path)


# -- sources --------------------------------------------------------------------------------------


def write_static(folder: Path) -> Path:
    """Three acquisitions as a catalogue of links, hrefs relative."""
    links = []
    for day in (1, 6, 11):
        item = sentinel_2(f"day-{day}", f"2019-07-{day:02d}T21:25:29Z")
        for band, asset in item["assets"].items():
            asset["href"] = f"./{band}.tif"
        (folder / item["id"]).mkdir()
        (folder / item["id"] / "item.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./{item['id']}/item.json"})
    links += [{"rel": "root", "href": "./catalog.json"}, {"rel": "child", "href": "catalog.json"}]
    catalogue = {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "d"}
    (folder / "catalog.json").write_text(json.dumps(catalogue | {"links": links}))
    return folder


def test_folder_file_items_parquet_and_api_give_the_same_scenes(tmp_path: Path) -> None:
    folder = write_static(tmp_path)
    where = (PLACE, "2019-07-01", "2019-07-06")
    scenes = search_scenes(folder, *where)
    assert [a.items[0]["id"] for a in scenes.acquisitions("sentinel-2-l2a")] == ["day-1", "day-6"]
    href = scenes.items[0]["assets"]["B02"]["href"]
    assert href == str(folder / "day-1" / "B02.tif")

    search_scenes(folder, PLACE, "2019-07-01", "2019-07-31").to_parquet(tmp_path / "all.parquet")
    for source in (folder / "catalog.json", tmp_path / "all.parquet"):
        assert search_scenes(str(source), *where).digest == scenes.digest
    with serving(folder) as url:
        one_a_page = Source("paged", url, page=1)
        assert search_scenes(one_a_page, *where).digest == scenes.digest
        assert search_scenes(url, *where, sensors=["sentinel-2-l2a"]).sensors == ("sentinel-2-l2a",)
        with pytest.raises(InputError, match="none of the collections landsat-c2-l2"):
            search_scenes(url, *where, sensors=["landsat-c2-l2"])
        with pytest.raises(InputError, match=r"No scene of .* for the region 10,50,11,51"):
            search_scenes(url, "10,50,11,51", "2019-07-01", "2019-07-06")
    (folder / "catalog.json").unlink()
    assert search_scenes(folder, *where).digest == scenes.digest


def test_a_named_sensor_of_which_nothing_is_found_beside_others_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_static(tmp_path)
    where = (PLACE, "2019-07-01", "2019-07-31")
    named = ["sentinel-2-l2a", "landsat-c2-l2"]
    assert search_scenes(folder, *where, sensors=named).sensors == ("sentinel-2-l2a",)
    assert caplog.messages == [
        "landsat-c2-l2: none of the 3 items that were found is of it; it is sought in the "
        "collections landsat-c2-l2, landsat-c2l2-sr"
    ]
    caplog.clear()
    search_scenes(folder, *where)
    search_scenes(folder, *where, sensors=named[:1])
    assert caplog.messages == []


def test_nothing_found_says_what_there_is(tmp_path: Path) -> None:
    folder = write_static(tmp_path)
    words = r"No scene of .* from 2019-07-01 to 2019-07-31; its 3 items lie within -148\.86876,60"
    with pytest.raises(InputError, match=words):
        search_scenes(folder, "3,50,4,51", "2019-07-01", "2019-07-31")
    with pytest.raises(InputError, match="3 items"):
        search_scenes(folder, PLACE, "2025-01-01", "2025-01-02")
    for path in folder.glob("*/item.json"):
        path.write_text(path.read_text().replace('"SCL"', '"B99"'))
    with pytest.raises(InputError, match=r"None of the 3 items .* day-1: it has no mask band SCL"):
        search_scenes(folder, PLACE, "2019-07-01", "2019-07-31")


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2018-13-01", "2018-12-31", "start '2018-13-01' is no date"),
        ("2018-01-01", "tomorrow", "end 'tomorrow' is no date"),
        ("2018-01-02", "2018-01-01", "ends before it starts: from 2018-01-02 to 2018-01-01"),
        ("0201-01-01", "2018-01-01", "outside 1972 to 2100"),
    ],
)
def test_a_period_that_cannot_be_used_is_named(start: str, end: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        search_scenes(DATA, PLACE, start, end)


def test_a_source_is_a_name_a_url_or_a_path(tmp_path: Path) -> None:
    assert resolve_source("planetary-computer") is SOURCES["planetary-computer"]
    assert resolve_source(tmp_path).where == str(tmp_path.resolve())
    assert resolve_source("https://me:secret@host/v1?key=secret").name == "https://host/v1"
    with pytest.raises(InputError, match=r"Unknown source 'planetary': it is none of planetary-c"):
        resolve_source("planetary")


# -- sources that do not answer as one ------------------------------------------------------------


@contextmanager
def answering(status: int, body: str, kind: str = "text/html") -> Iterator[str]:
    """A server that gives every request the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


PAGE = "<html><body>Please log in</body></html>"
API = {
    "type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "", "links": [
        {"rel": "search", "href": "HERE/search", "type": "application/geo+json", "method": "POST"}
    ],
    "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search",
                   "https://api.stacspec.org/v1.0.0/collections"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, PAGE, "answers with '<html><body>Please log in</body></html>', which is no JSON"),
        (500, PAGE, "answers with the error 500"),
        (404, "nothing here", r"answers with the error 404 \(nothing here\)"),
        (200, '{"detail": "hello"}', "something other than STAC"),
        (200, "[1, 2]", "something other than STAC"),
        (200, "", "which is no JSON"),
        (200, json.dumps(API), "None of|something other than STAC|No scene"),
    ],
)
def test_an_api_that_answers_with_something_else_is_named(
    status: int, body: str, words: str
) -> None:
    with answering(status, body) as url, pytest.raises(InputError, match=words) as caught:
        search_scenes(url, PLACE, "2019-07-01", "2019-07-31")
    assert url in str(caught.value) or "HERE" in body
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_an_api_that_does_not_answer_is_named() -> None:
    with answering(200, "") as url:
        pass
    with pytest.raises(InputError, match=f"{url} does not answer .*refused"):
        search_scenes(url, PLACE, "2019-07-01", "2019-07-31")


def test_an_api_that_keeps_silent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "TIMEOUT_S", (0.2, 0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match=f"{url} does not answer .*timed out"):
            search_scenes(url, PLACE, "2019-07-01", "2019-07-31")


def test_the_real_scenes(scenes: Path) -> None:
    found = search_scenes(scenes, scenes / "region.geojson", "2017-08-01", "2018-11-30")
    assert {name: len(found.acquisitions(name)) for name in found.sensors} == {
        "sentinel-2-l2a": 118,
        "sentinel-1-asc": 159,
        "landsat-c2-l2": 24,
    }
    assert Counter(fate.fate for fate in found.fates) == {"used": 301, "merged": 2, "dropped": 6}
    offsets = Counter(a.offset for a in found.acquisitions("sentinel-2-l2a"))
    assert offsets == {0.0: 112, -0.1: 6}


def test_a_footprint_is_not_only_its_box(tmp_path: Path) -> None:
    """The corner of a slanted scene's box holds no scene."""
    item = sentinel_2("slanted")
    item["geometry"] = {
        "type": "Polygon",
        "coordinates": [[[-149, 60], [-147, 62], [-147, 61.9], [-148.9, 60], [-149, 60]]],
    }
    (tmp_path / "item.json").write_text(json.dumps(item))
    with pytest.raises(InputError, match="No scene"):
        search_scenes(
            tmp_path, mapping(box(-147.2, 60.1, -147.1, 60.2)), "2019-01-01", "2019-12-31"
        )


@pytest.mark.parametrize("number", [40, pytest.param(10_000, marks=pytest.mark.soak)])
def test_many_items_are_one_search_and_one_file(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither tiles nor data strips are stated: each pair might be one acquisition."""
    items = []
    for n in range(number):
        time = np.datetime64("2006-01-01T10:50:00") + np.timedelta64(17 * (n // 2), "h")
        items.append(sentinel_2(f"I{n:05d}", f"{time}Z", s2__mgrs_tile=None, s2__product_uri=None))
    (tmp_path / "items.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": items})
    )
    compared = []
    plain = duplicates._same

    def counted(one: Any, other: Any) -> bool:
        compared.append(None)
        return plain(one, other)

    monkeypatch.setattr(duplicates, "_same", counted)
    found = search_scenes(tmp_path / "items.json", PLACE, "2006-01-01", "2025-12-31")
    assert len(compared) <= 2 * number  # and not all pairs
    assert Counter(f.fate for f in found.fates) == {"used": number // 2, "dropped": number // 2}
    found.to_parquet(tmp_path / "scenes.parquet")
    assert Scenes.from_parquet(tmp_path / "scenes.parquet").digest == found.digest
