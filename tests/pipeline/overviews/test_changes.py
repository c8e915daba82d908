"""Overviews beside what else befalls a store: blocks written anew, other overviews, kills."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import make_overviews, open_latents
from terralatent.pipeline.cube.reopening import reopen
from terralatent.pipeline.overviews import pyramid
from terralatent.pipeline.overviews.make import outdate
from terralatent.pipeline.overviews.opened import level_shapes
from terralatent.pipeline.region import blocks
from terralatent.pipeline.store.integrity import Damage
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.commands.contents import contents, same
from tests.commands.mishaps import Mishap
from tests.commands.processes import Launcher
from tests.made.results import made_up_latents, result_grid

SHAPE = (75, 101)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of 64 pixels, and levels down to 32."""
    for name, value in {"TASK": 64, "WINDOW": 32, "LEAST": 64, "SMALLEST": 32}.items():
        monkeypatch.setattr(pyramid, name, value)


def levels_of(path: Path) -> dict[str, bytes]:
    """What is stored of overviews."""
    return {key: value for key, value in contents(path).items() if key.startswith("overviews")}


@pytest.mark.usefixtures("small")
def test_a_block_written_anew_hides_overviews_until_they_are_made_of_it(
    workers: Client, tmp_path: Path
) -> None:
    path = made_up_latents(tmp_path / "latents", SHAPE, block=16)
    make_overviews(path, client=workers)
    block = blocks(SHAPE, 16)[-1]
    session = Store.of(path).repository().writable_session(BRANCH)
    root: Any = zarr.open_group(session.store, mode="r+")
    root["mean"][:, :, block.y, block.x] = 4000
    outdate(root, block)
    session.commit("a block")

    assert level_shapes(Store.of(path).group()) == {0: SHAPE}
    with pytest.raises(InputError, match="blocks were written since"):
        open_latents(path, level=1)
    assert make_overviews(path, client=workers).computed == 3, "the arrays of one square of four"

    corner = open_latents(path, level=1)["mean"][:, :, -1, -1].values
    np.testing.assert_allclose(corner, 1.0)
    anew = made_up_latents(tmp_path / "anew", SHAPE, block=16)
    session = Store.of(anew).repository().writable_session(BRANCH)
    root = zarr.open_group(session.store, mode="r+")
    root["mean"][:, :, block.y, block.x] = 4000
    session.commit("the same block")
    make_overviews(anew, client=workers)
    same(levels_of(path), levels_of(anew))


@pytest.mark.usefixtures("small")
def test_overviews_of_another_grid_or_maker_are_refused_by_name_and_stay(
    workers: Client, tmp_path: Path
) -> None:
    path = made_up_latents(tmp_path / "latents", SHAPE, block=16)
    make_overviews(path, client=workers)
    for change, words in (
        ({"spatial:shape": [30, 51]}, r"overviews/1 has another grid: spatial:shape is \[30, 51\]"),
        (None, "a group `overviews` of another maker, without the array `overviews/state`"),
        ({}, "`multiscales` of another maker, which names fine, coarse"),
    ):
        session = Store.of(path).repository().writable_session(BRANCH)
        root: Any = zarr.open_group(session.store, mode="r+")
        if change:
            root["overviews/1"].attrs.update(change)
        elif change is None:
            del root["overviews/state"]
        else:
            del root["overviews"]
            layout = [{"asset": "fine"}, {"asset": "coarse"}]
            root.attrs["multiscales"] = {"layout": layout}
        session.commit("by somebody else")
        before = contents(path)

        with pytest.raises(InputError, match=words):
            make_overviews(path, client=workers)

        assert contents(path) == before


@pytest.mark.usefixtures("small")
def test_a_damaged_chunk_of_overviews_is_made_again(workers: Client, tmp_path: Path) -> None:
    path = made_up_latents(tmp_path / "latents", SHAPE, block=16)
    make_overviews(path, client=workers)
    before = contents(path)
    damaged = Damage("overviews/1/mean", (1, 0, 0, 1), None, "was changed")

    assert reopen(path, [damaged]) == (damaged,)

    assert level_shapes(Store.of(path).group()) == {0: SHAPE}
    assert "overviews/1/mean/c/1/0/0/1" not in contents(path)
    make_overviews(path, client=workers)
    same(contents(path), before)


@pytest.mark.usefixtures("small")
def test_overviews_are_of_whole_results_alone(
    workers: Client, tmp_path: Path, cube: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made_up_latents(tmp_path / "latents", SHAPE, block=16, state=0)
    with pytest.raises(InputError, match="35 of its blocks are not done"):
        make_overviews(path, client=workers)
    with pytest.raises(InputError, match="is a cube store; latents, bands or a map"):
        make_overviews(cube, client=workers)
    assert set(level_shapes(Store.of(path).group())) == {0}

    monkeypatch.setattr(pyramid, "LEAST", 101)
    tiny = made_up_latents(tmp_path / "tiny", SHAPE, block=16)
    before = contents(tiny)
    assert str(make_overviews(tiny, client=workers)) == "the grid is small; it needs no overviews"
    assert contents(tiny) == before


POINTS = (
    ("before commit", 1, 0),
    ("after commit", 1, 0),
    ("written", 2, 0),
    ("merged", 1, 0),
    ("before commit", 1, 0),
    ("after commit", 1, 2),
    ("merged", 5, 2 + 8),
    ("after commit", 1, 12),
    ("before commit", 1, 12),
)
"""Where the command is killed, run after run; at which passing, and how many tasks are done then.
By ``tests.commands.launcher`` two tasks make a commit; the first lays the levels out."""


def killed_again_and_again(
    points: tuple[tuple[str, int, int], ...], launcher: Launcher, whole: Path, path: Path
) -> None:
    pixels = {k: v for k, v in contents(path).items() if "/c/" in k}
    for run, (place, nth, done) in enumerate(points):
        mishap = Mishap(place, "kill", nth=nth)
        folder = path.with_name(f"run-{run}")
        ended = launcher.run("overviews", path, mishaps=(mishap,), folder=folder)
        assert ended.code == -signal.SIGKILL, (mishap, ended.output)
        root: Any = Store.of(path).group()
        assert level_shapes(root) == {0: SHAPE}, mishap
        held = contents(path)
        assert all(held[key] == value for key, value in pixels.items())
        states = np.asarray(root["overviews/state"]) if "overviews" in root else np.zeros(1)
        assert int(states.sum()) == done, mishap

    ended = launcher.run("overviews", path)

    assert ended.code == 0, ended.output
    assert f"{max(1, 12 - done)} tasks" in ended.output
    same(contents(path), contents(whole))


@pytest.mark.soak  # `embed` is killed in every run, by the same code
@pytest.mark.parametrize(
    "points",
    [
        pytest.param((("after commit", 3, 4),), id="one point"),
        pytest.param(POINTS, id="all points", marks=pytest.mark.soak),
    ],
)
@pytest.mark.usefixtures("small")
def test_killed_overviews_are_not_shown_and_end_with_the_same_bytes(
    points: tuple[tuple[str, int, int], ...],
    launcher: Launcher,
    workers: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, path = (made_up_latents(tmp_path / name, SHAPE, block=16) for name in ("whole", "path"))
    make_overviews(whole, client=workers)
    killed_again_and_again(points, launcher, whole, path)


def test_the_grid_of_a_level_keeps_its_corner() -> None:
    grid = result_grid((75, 101))
    wide = pyramid.level_grid(grid, 3)
    assert wide.shape == (10, 13)
    assert (wide.boundingbox.left, wide.boundingbox.top) == (540_000.0, 5_680_000.0)
