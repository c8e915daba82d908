"""A result of a cube that grew becomes what it would be if it were made of it, and no more is done
than that takes."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from distributed import Client
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.models.annual import AnnualMap
from terralatent.pipeline import (
    annual,
    classify,
    decode,
    embed,
    open_annual,
    open_bands,
    open_landcover,
    open_latents,
    status,
)
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.region import blocks
from terralatent.pipeline.store.history import history
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.commands.contents import contents, same
from tests.made.catalogue import SIDE
from tests.pipeline.mapping.growth.conftest import BLOCK, DATES, LATE, NEW, Grow

COLUMNS, BLOCKS = 3, 9
S2 = "sentinel-2-l2a"


def run(place: Path, out: str, workers: Client, dates: str = DATES, **options: object):  # type: ignore[no-untyped-def]
    return embed(
        place / "cube", place / "model", place / out, dates=dates, client=workers, **options
    )


def alike(followed: xr.Dataset, fresh: xr.Dataset) -> None:
    """A date on which a block was not seen changes its values by rounding, of which nothing is
    made: a few units in the last place, and where these are packed one step."""
    assert set(followed) == set(fresh)
    for name in fresh:
        a, b = followed[name].values, fresh[name].values
        step = {"mean": 2.6e-4, "std": 2.1e-5}.get(str(name), 1e-5)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=step if a.dtype == np.float32 else 0)


@pytest.mark.parametrize("precision", ["packed", pytest.param("float32", marks=pytest.mark.soak)])
def test_only_blocks_that_something_new_sees_are_made_anew(
    place: Path, grow: Grow, workers: Client, precision: str
) -> None:
    run(place, "out", workers, precision=precision)
    grow(place / "cube", [LATE])

    report = run(place, "out", workers, precision=precision)

    assert (report.computed, report.same) == (BLOCKS - COLUMNS, COLUMNS)
    run(place, "fresh", workers, precision=precision)
    alike(*(open_latents(place / out).load() for out in ("out", "fresh")))
    latents = open_latents(place / "out")
    assert latents.attrs["cube_snapshot"] == Store.of(place / "cube").snapshot()
    about = [Store.of(place / out).about()["identity"] for out in ("out", "fresh")]
    assert about[0] == about[1]
    assert run(place, "out", workers, precision=precision).computed == 0


@pytest.mark.soak
def test_a_late_scene_counts_where_it_lies(place: Path, grow: Grow, workers: Client) -> None:
    run(place, "out", workers)
    grow(place / "cube", [])
    report = run(place, "out", workers)
    assert (report.computed, report.same) == (BLOCKS, 0)
    run(place, "fresh", workers)
    alike_in(place)


def alike_in(place: Path) -> None:
    alike(*(open_latents(place / out).load() for out in ("out", "fresh")))


@pytest.mark.soak
def test_dates_that_came_are_added(place: Path, grow: Grow, workers: Client) -> None:
    run(place, "out", workers)
    grow(place / "cube", [LATE])
    longer = f"{DATES},2018-04-20,2018-04-28"
    report = run(place, "out", workers, longer)
    assert report.computed == BLOCKS
    run(place, "fresh", workers, longer)
    alike_in(place)


def test_what_a_kill_left_is_gone_on_with_whatever_came_meanwhile(
    place: Path, grow: Grow, workers: Client
) -> None:
    """Blocks of three snapshots at a time."""
    run(place, "out", workers)
    grow(place / "cube", [LATE])
    run(place, "out", workers)
    session = Store.of(place / "out").repository().writable_session(BRANCH)
    root = zarr.open_group(session.store, mode="r+")
    first = next(state.id for state in history(place / "cube") if state.message == "build")
    root.attrs["held_from"] = [[first, 2]]
    state, held = root["state"], root["held"]
    for block in blocks((SIDE, SIDE), BLOCK):
        if block.index[1] == 0:  # nothing new came: its values are those of the first snapshot
            state[block.index], held[block.index] = 0, 1
        elif block.index[1] == 1:  # pending, with values of nobody knows when
            state[block.index], held[block.index] = 0, 0
            root["mean"][:, :, block.y, block.x] = 7
    session.commit("as a kill leaves it")
    assert (run_report := run(place, "out", workers)).same == COLUMNS
    assert run_report.computed == COLUMNS
    run(place, "fresh", workers)
    alike_in(place)


@pytest.mark.soak
def test_what_was_not_read_yet_is_made_anew(place: Path, grow: Grow, workers: Client) -> None:
    """A shard that was pending, and a loss that was made good, change pixels of old dates."""
    store = Store.of(place / "cube")
    session = store.repository().writable_session(BRANCH)
    root = zarr.open_group(session.store, mode="r+")
    right = np.asarray(root[f"{S2}/data"][0])
    root[f"{S2}/data"][0] = root[f"{S2}/data"].attrs["_FillValue"]
    root[S2].attrs["losses"] = [
        {"unit": "0/0/0", "window": [0, 16, 0, 16], "sensor": S2, "item": "O02", "band": "B02",
         "reason": "gone"}
    ]  # fmt: skip
    session.commit("lose one")
    run(place, "out", workers)
    session = store.repository().writable_session(BRANCH)
    root = zarr.open_group(session.store, mode="r+")
    root[f"{S2}/data"][0] = right
    root[S2].attrs["losses"] = []
    session.commit("read it again")
    assert run(place, "out", workers).computed == BLOCKS
    run(place, "fresh", workers)
    alike_in(place)


@pytest.mark.soak
def test_bands_follow_too(place: Path, grow: Grow, workers: Client) -> None:
    def make(out: str):  # type: ignore[no-untyped-def]
        return decode(place / "cube", place / "model", S2, DATES, place / out, client=workers)

    make("out")
    grow(place / "cube", [LATE])
    assert make("out").same == COLUMNS
    make("fresh")
    alike(*(open_bands(place / out).load() for out in ("out", "fresh")))


def test_annual_vectors_follow_window_by_window(place: Path, grow: Grow, workers: Client) -> None:
    """Those that are asked for; others stay, and say of which snapshot they are."""
    AnnualMap(torch.randn(3, 12, 4), torch.zeros(3), torch.ones(3)).save(place / "model")
    year, next_year = "2017-05-01/2018-04-30", "2018-03-01/2019-02-28"
    widen(place / "cube")

    def make(out: str, *windows: str):  # type: ignore[no-untyped-def]
        return annual(
            place / "cube", place / "model", place / out, window=windows, components=3,
            precision="float32", client=workers,
        )  # fmt: skip

    make("out", year, next_year)
    before = Store.of(place / "cube").snapshot()
    grow(place / "cube", [LATE])
    report = make("out", year)
    assert (report.computed, report.same) == (BLOCKS - COLUMNS, COLUMNS)
    followed = open_annual(place / "out")
    assert list(followed.cube_snapshot.values) == [Store.of(place / "cube").snapshot(), before]
    make("fresh", year)
    alike(followed.isel(time=[0]).load(), open_annual(place / "fresh").load())
    assert make("out", year, next_year).same == COLUMNS
    make("both", year, next_year)
    alike(open_annual(place / "out").load(), open_annual(place / "both").load())


def widen(cube: Path) -> None:
    """Let a cube say that it is of two years."""
    session = Store.of(cube).repository().writable_session(BRANCH)
    root = zarr.open_group(session.store, mode="r+")
    about = dict(root.attrs["terralatent"])
    about["identity"] = {**about["identity"], "period": ["2017-03-01", "2019-12-31"]}
    root.attrs["terralatent"] = about
    session.commit("two years")


def test_a_map_follows_its_latents(place: Path, grow: Grow, workers: Client) -> None:
    """Where the labels' pixels are the same, so is the probe: only blocks of other latents are
    mapped anew; else all are."""
    box = open_latents_of(place, workers)
    left, right = labels(box, 0), labels(box, 20)

    def make(out: str, own):  # type: ignore[no-untyped-def]
        return classify(place / "out", own, "crop", out=place / out, client=workers).map

    make("left", left)
    make("right", right)
    grow(place / "cube", [LATE])
    run(place, "out", workers)
    report = make("left", left)
    assert report.computed == BLOCKS - COLUMNS
    assert make("right", right).computed == BLOCKS
    for name, own in (("left", left), ("right", right)):
        make(f"fresh-{name}", own)
        a, b = (open_landcover(place / out).load() for out in (name, f"fresh-{name}"))
        assert a.drop_attrs().equals(b.drop_attrs())


def open_latents_of(place: Path, workers: Client) -> GeoBox:
    run(place, "out", workers)
    return open_latents(place / "out").odc.geobox


def labels(box: GeoBox, column: int) -> gpd.GeoDataFrame:
    """Squares of 4 pixels of two classes, from a column on."""
    shapes = [
        box[row : row + 4, at : at + 4].extent.geom
        for row in range(0, 36, 6)
        for at in (column, column + 6)
    ]
    return gpd.GeoDataFrame({"crop": ["maize", "wheat"] * 6}, geometry=shapes, crs=box.crs)


def test_what_is_no_later_state_of_the_same_cube_is_refused(
    place: Path, grow: Grow, workers: Client, early: Path
) -> None:
    before = Store.of(place / "cube").snapshot()
    grow(place / "cube", [LATE])
    run(place, "out", workers)
    kept = contents(place / "out")
    with pytest.raises(InputError, match=r"cube\.snapshot is .* there"):
        run(place, "out", workers, at=before)
    grow(place / "other", [LATE, NEW])
    with pytest.raises(InputError, match=r"cube\.snapshot is .* there"):
        embed(place / "other", place / "model", place / "out", dates=DATES, client=workers)
    grow(place / "cube", [])
    with pytest.raises(InputError, match=r"dates is .* there"):
        run(place, "out", workers, "2018-03-10,2018-04-11")
    same(contents(place / "out"), kept)


@pytest.mark.soak
def test_a_result_keeps_no_state_that_it_has_nothing_of(
    place: Path, grow: Grow, workers: Client
) -> None:
    run(place, "out", workers)
    grow(place / "cube", [LATE])
    run(place, "out", workers)
    grow(place / "cube", [])
    run(place, "out", workers)
    kept = [state for state in history(place / "cube") if state.kept_for]
    assert [state.id for state in kept] == [Store.of(place / "cube").snapshot()]
    assert status(place / "out").result.blocks.pending == 0  # type: ignore[union-attr]


def test_blocks_are_asked_by_what_they_hold(place: Path, grow: Grow) -> None:
    """Against a comparison of all pixels that are read."""
    before = Store.of(place / "cube").snapshot()
    grow(place / "cube", [LATE])
    then, now = (
        plan_job(place / "cube", place / "model", DATES, reading)
        for reading in (reading_at(before), reading_at(None))
    )
    for block in blocks(now.grid.shape, BLOCK):
        old, new = then.read(block), now.read(block)
        unlike = any(
            sum_of(old.by_sensor[name]) != sum_of(new.by_sensor[name]) for name in now.sensors
        )
        assert now.is_same_since(before, block) == (not unlike)


def reading_at(snapshot: str | None):  # type: ignore[no-untyped-def]
    from terralatent.pipeline.cube.reading import Reading

    return Reading(at=snapshot)


def sum_of(series):  # type: ignore[no-untyped-def]
    values = np.where(series.packed == series.fill_value, 0, series.packed.astype(np.int64) + 9)
    return int((values * series.clear[..., None]).sum())
