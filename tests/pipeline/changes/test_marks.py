"""Marks over a map of many blocks, and the overviews of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from distributed import Client
from scipy import stats

import terralatent as tl
from terralatent.pipeline.changes.arrays import ChangeArrays
from terralatent.pipeline.changes.marks import mark
from terralatent.pipeline.changes.significance import minus_log10_p
from terralatent.pipeline.store.arrays import time_array
from terralatent.pipeline.store.multiscales import MULTISCALES
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.made.results import made_up_result, result_grid

SHAPE, BLOCK, DATES = (520, 120), 64, 2


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Distances of two latents, of which a square moved at the second date; a corner lies outside
    every scene. Nothing is marked yet."""
    random = np.random.default_rng(4)
    squared = random.chisquare(2, (DATES, *SHAPE))
    squared[1, 100:300, 20:100] += random.chisquare(2, (200, 80)) * 12.0
    degrees = np.full((DATES, *SHAPE), 2)
    degrees[:, 400:, :20] = 0
    values = {
        "distance": np.sqrt(squared).astype(np.float32),
        "minus_log10_p": minus_log10_p(squared, degrees).astype(np.float32),
        "degrees": degrees.astype(np.uint16),
    }
    for array in values.values():
        array[:, :30, :30] = np.nan if array.dtype.kind == "f" else 65535
    arrays = tuple(
        replace(array, data=values[array.name]) if array.name in values else array
        for array in ChangeArrays(latents=2).layout(result_grid(SHAPE), BLOCK, DATES)
    )
    times = time_array("time", "time", np.array(["2018-05-04", "2018-08-04"], "datetime64[us]"))
    arrays = (*arrays, times)
    return made_up_result(tmp_path_factory.mktemp("marks") / "map", "changes", arrays, SHAPE, BLOCK)


def test_each_date_is_marked_by_itself_as_all_its_pixels_say(drawn: Path) -> None:
    marked = mark(Store.of(drawn), 0.05)

    found = tl.open_changes(drawn).load()
    for at, own in enumerate(marked):
        significance = found["minus_log10_p"].values[at].astype(float)
        tested = np.isfinite(significance)
        wanted = np.full(SHAPE, 0, np.uint8)
        control = stats.false_discovery_control(10.0 ** -significance[tested]) <= 0.05
        wanted[tested] = control
        wanted[400:, :20] = 2
        wanted[:30, :30] = 255
        np.testing.assert_array_equal(found["changed"].values[at], wanted)
        assert (own.changed, own.tests) == (control.sum(), tested.sum())
        assert own.not_known == 120 * 20
    assert marked[0].changed < 5 < 8_000 < marked[1].changed


def test_marks_wait_for_all_blocks(drawn: Path, tmp_path: Path) -> None:
    own = Store.of(shutil.copytree(drawn, tmp_path / "map"))
    session = own.repository().writable_session(BRANCH)
    zarr.open_group(session.store, mode="r+")["state"][0, 0] = 0
    own.commit(session, "a block is to be made again")

    assert mark(own, 0.05) == ()


def test_marks_that_change_outdate_overviews(drawn: Path, workers: Client, tmp_path: Path) -> None:
    store = Store.of(drawn)
    mark(store, 0.05)
    tl.make_overviews(drawn, client=workers)
    assert MULTISCALES in store.group().attrs
    level = tl.open_changes(drawn, level=1).load()
    assert level["changed"].shape == (2, 260, 60)
    assert set(np.unique(level["changed"])) <= {0, 1, 2, 255}
    assert tl.show(drawn, tmp_path / "map.png").is_file()

    mark(store, 0.05)  # nothing differs
    assert MULTISCALES in store.group().attrs
    mark(store, 1e-9)
    assert MULTISCALES not in store.group().attrs
    tl.make_overviews(drawn, client=workers)
    changed = tl.open_changes(drawn, level=1).load()["changed"]
    assert (changed == 1).sum() < (level["changed"] == 1).sum()
