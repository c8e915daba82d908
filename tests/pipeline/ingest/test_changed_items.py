"""Copies of an acquisition, and items that their catalogue changes: the cube holds the best."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.pipeline.cube.items import stored_rows
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.cube.time_axis import CubeDate
from terralatent.pipeline.ingest import comparison, read_tasks
from terralatent.pipeline.ingest.build import BuildReport, build_cube
from terralatent.pipeline.ingest.comparison import compare_dates
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.commands.contents import contents, same
from tests.made.places import SIDE, outline, scene

S2 = "sentinel-2-l2a"
REGION = "3.0001,50.5492,3.0040,50.5518"
AT = (500_000.0, 5_600_000.0)
LATER = "2024-09-01T00:00:00Z"
Build = Callable[..., BuildReport]


@pytest.fixture
def build(tmp_path: Path, workers: Client) -> Build:
    """Builds the cube of the catalogue of a test, or lets it grow."""

    def run(name: str = "cube", **how: Any) -> BuildReport:
        scenes = search_scenes(tmp_path / "in", REGION, "2024-01-01", "2024-12-31", **how)
        return build_cube(scenes, REGION, tmp_path / name, block=32, client=workers)

    (tmp_path / "in").mkdir()
    return run


def reflectance(cube: Path) -> dict[str, float]:
    """For each day what the first band holds, which is one number."""
    group = open_cube(cube, clear=False)[S2]
    days = group["time"].values.astype("datetime64[D]").astype(str).tolist()
    values = group["data"].values[:, 0]
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values, values[:, :1, :1] + np.zeros_like(values))
    return dict(zip(days, values[:, 0, 0].astype(float).round(3).tolist(), strict=True))


def fate(cube: Path, name: str) -> str:
    table = Store.of(cube).group()["items"]
    fates = dict(zip(map(str, table["id"][:]), map(str, table["fate"][:]), strict=True))
    return fates[name]


def day(folder: Path, number: int, dn: int = 3000, **how: Any) -> None:
    updated = how.pop("updated", f"2024-06-{number + 1:02d}T00:00:00Z")
    time = f"2024-06-{number:02d}T{how.pop('time', '10:50:00')}Z"
    scene(folder / "in", f"S2A_{number}", time, at=AT, numbers=dn, updated=updated, **how)


CHANGES: dict[str, tuple[dict[str, Any], float]] = {
    "nothing": ({}, 0.3),
    "made anew": ({"updated": LATER, "s2__processing_baseline": "05.11"}, 0.35),
    "another baseline alone": ({"updated": None, "s2__processing_baseline": "05.11"}, 0.35),
    "an older baseline": ({"updated": LATER, "s2__processing_baseline": "04.00"}, 0.35),
    "a newer `updated` alone": ({"updated": LATER}, 0.35),
    "a product made later": ({"updated": None, "processing__datetime": LATER}, 0.35),
    "its offset corrected": ({"offset": -0.1}, 0.25),
    "its time corrected": ({"time": "10:51:30", "updated": None}, 0.35),
    "its orbit corrected": ({"sat__relative_orbit": 8, "updated": LATER}, 0.35),
}


def test_what_changed_in_place_is_read_again_and_new_dates_come_too(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, len(CHANGES) + 1):
        day(tmp_path, number)
    build()
    for number, (how, _) in enumerate(CHANGES.values(), 1):
        if how:
            day(tmp_path, number, 3500, **how)
    day(tmp_path, len(CHANGES) + 1, 4000)
    with caplog.at_level(logging.INFO):
        report = build()
    assert (report.new, report.losses) == (len(CHANGES), ())
    held = list(reflectance(tmp_path / "cube").values())
    assert dict(zip([*CHANGES, "new"], held, strict=True)) == {
        "new": 0.4,
        **{change: value for change, (_, value) in CHANGES.items()},
    }
    assert "8 items, such as S2A_2, were changed in their catalogue" in caplog.text
    before = Store.of(tmp_path / "cube").snapshot()
    assert build().new == 0
    assert Store.of(tmp_path / "cube").snapshot() == before


@pytest.mark.soak
def test_a_cube_after_a_change_is_the_cube_built_at_once(build: Build, tmp_path: Path) -> None:
    for number in (1, 6):
        day(tmp_path, number)
    build()
    day(tmp_path, 1, 3500, updated=LATER, s2__processing_baseline="05.11")
    build()
    build("at-once")
    same(contents(tmp_path / "cube"), contents(tmp_path / "at-once"))


def test_a_catalogue_whose_clock_was_ahead_does_not_hide_a_change(
    build: Build, tmp_path: Path
) -> None:
    day(tmp_path, 1, updated="2094-01-01T00:00:00Z")
    build()
    assert build().new == 0
    day(tmp_path, 1, 3500, updated=LATER)
    assert build().new == 1
    assert reflectance(tmp_path / "cube") == {"2024-06-01": 0.35}


def test_a_mirror_that_is_behind_changes_nothing(build: Build, tmp_path: Path) -> None:
    day(tmp_path, 1, updated=LATER)
    build()
    before = Store.of(tmp_path / "cube").snapshot()
    day(tmp_path, 1, 3500, updated="2024-06-02T00:00:00Z")
    assert build().new == 0
    assert Store.of(tmp_path / "cube").snapshot() == before


def test_an_item_that_cannot_be_used_any_more_stays_and_is_named(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    day(tmp_path, 1)
    build()
    path = tmp_path / "in" / "S2A_1.json"
    content = json.loads(path.read_text())
    del content["assets"]["SCL"]
    path.write_text(json.dumps(content))
    day(tmp_path, 6)
    assert build().new == 1
    assert list(reflectance(tmp_path / "cube")) == ["2024-06-01", "2024-06-06"]
    assert (
        "S2A_1 was read before and cannot be used any more (it has no mask band SCL" in caplog.text
    )
    assert fate(tmp_path / "cube", "S2A_1") == "used"


@pytest.mark.soak
def test_a_change_while_the_cube_is_being_filled_blocks_nothing(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise OSError("the disk is on fire")

    for number in (1, 6):
        day(tmp_path, number)
    with monkeypatch.context() as patch:
        patch.setattr(read_tasks, "read_pixels", failing)
        assert build().losses
    day(tmp_path, 6, 3000, offset=-0.1)
    assert build().losses == ()
    assert reflectance(tmp_path / "cube") == {"2024-06-01": 0.3, "2024-06-06": 0.2}


@pytest.mark.soak
def test_a_cube_of_an_older_version_goes_on_and_notes_what_it_lacked(
    build: Build, tmp_path: Path
) -> None:
    day(tmp_path, 1)
    build()
    session = Store.of(tmp_path / "cube").repository().writable_session(BRANCH)
    del zarr.open_group(session.store, mode="r+")["items"]["updated"]  # type: ignore[union-attr]
    session.commit("as an older version left it")
    day(tmp_path, 6)
    assert build().new == 1
    day(tmp_path, 1, 3500, updated=LATER)
    assert build().new == 1
    assert reflectance(tmp_path / "cube") == {"2024-06-01": 0.35, "2024-06-06": 0.3}


def availabilities(cube: Path) -> dict[str, str]:
    return {row.id: row.available[:10] for row in stored_rows(Store.of(cube).group()["items"])}  # type: ignore[arg-type]


def test_when_a_product_could_be_had_is_kept_with_its_pixels(build: Build, tmp_path: Path) -> None:
    day(tmp_path, 1, created="2024-06-01T20:00:00Z", published="2024-06-02T01:00:00Z")
    day(tmp_path, 2, created="2024-06-02T20:00:00Z", updated="2024-06-05T00:00:00Z")
    day(tmp_path, 3, created="2024-06-03T20:00:00Z", updated="2024-06-05T00:00:00Z")
    build()
    first = {"S2A_1": "2024-06-02", "S2A_2": "2024-06-02", "S2A_3": "2024-06-03"}
    assert availabilities(tmp_path / "cube") == first
    day(tmp_path, 1)  # a mirror that does not say
    day(tmp_path, 2, created="2024-06-04T20:00:00Z", updated="2024-06-05T00:00:00Z")
    day(tmp_path, 3, 3500, created="2024-09-01T00:00:00Z", updated=LATER)  # made anew
    day(tmp_path, 6)
    assert build().new == 2
    found = availabilities(tmp_path / "cube")
    assert found == {**first, "S2A_3": "2024-09-01", "S2A_6": ""}
    snapshot = Store.of(tmp_path / "cube").snapshot()
    day(tmp_path, 2, created="2024-06-03T20:00:00Z", updated="2024-06-05T00:00:00Z")
    assert build().new == 0
    assert Store.of(tmp_path / "cube").snapshot() == snapshot, "rows are not unlike for it"


def test_an_offset_that_only_the_user_states_is_one_for_the_whole_cube(
    build: Build, tmp_path: Path
) -> None:
    day(tmp_path, 1, s2__processing_baseline=None, offset=None)
    build(offsets={S2: 0.0})
    before = Store.of(tmp_path / "cube").snapshot()
    words = r"S2A_1 was stored with scale 0\.0001 and offset 0, now it would have 0\.0001 and -0\.1"
    with pytest.raises(InputError, match=words):
        build(offsets={S2: -0.1})
    assert Store.of(tmp_path / "cube").snapshot() == before


def test_dates_of_many_years_are_compared_with_their_neighbours_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dates(step: str) -> tuple[CubeDate, ...]:
        facts = {"platform": "sentinel-2a", "orbit": 51, "baseline": "05.00"}
        times = np.arange("2005-01-01", "2025-01-01", np.timedelta64(5, "D"), "datetime64[us]")
        return tuple(
            CubeDate(time, facts, frozenset({(f"S{n}", 1e-4, 0.0)}), None, {f"S{n}": step}, n)
            for n, time in enumerate(times)
        )

    compared = []
    plain = comparison._is_same_pass

    def counted(old: CubeDate, new: CubeDate) -> bool:
        compared.append(None)
        return plain(old, new)

    monkeypatch.setattr(comparison, "_is_same_pass", counted)
    stored, found = dates("2025-01-01"), [replace(d, stored=None) for d in dates("2025-02-01")]
    merged = compare_dates(stored, found)
    assert len(merged.axis) == len(merged.changed) == len(stored)
    assert len(compared) <= 3 * len(stored)


@pytest.mark.soak
def test_platforms_at_one_instant_keep_their_own_dates_as_a_cube_grows(
    build: Build, tmp_path: Path
) -> None:
    day(tmp_path, 1, platform="sentinel-2c")
    build()
    time = "2024-06-01T10:50:00Z"
    scene(tmp_path / "in", "S2A_other", time, at=AT, numbers=3500, updated=LATER)
    assert build().new == 1
    assert build().new == 0
    group = open_cube(tmp_path / "cube", clear=False)[S2]
    held = dict(zip(group["platform"].values, group["data"].values[:, 0, 0, 0], strict=True))
    assert held == pytest.approx({"sentinel-2a": 0.35, "sentinel-2c": 0.3}, abs=1e-4)
    rows = stored_rows(Store.of(tmp_path / "cube").group()["items"])  # type: ignore[arg-type]
    assert sorted(str(row.acquisition) for row in rows) == sorted(map(str, group["time"].values))


def test_two_receiving_stations_make_one_whole_date(build: Build, tmp_path: Path) -> None:
    name = "S2A_MSIL2A_20240601T105031_N0510_R051_T31UDS_20240601T{}"
    for made, dn, rows in (("100652", 2000, slice(0, 26)), ("130912", 2100, slice(6, SIDE))):
        numbers = np.zeros((SIDE, SIDE), "uint16")
        numbers[rows] = dn
        part = {"geometry": {"type": "Polygon", "coordinates": [outline("EPSG:32631", *AT, rows)]}}
        scene(tmp_path / "in", name.format(made), "2024-06-01T10:50:31Z", at=AT, numbers=numbers,
              item=part)  # fmt: skip
    build()
    (values,) = open_cube(tmp_path / "cube", clear=False)[S2]["data"].values[:, 0]
    top = round((AT[1] - float(open_cube(tmp_path / "cube")[S2]["y"][0])) / 10 - 0.5)
    older = 6 - top
    np.testing.assert_allclose(values[:older], 0.2, atol=1e-4)  # the newer one counts where it is
    np.testing.assert_allclose(values[older:], 0.21, atol=1e-4)
