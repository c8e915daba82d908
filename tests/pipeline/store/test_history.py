"""Earlier states open as they were, results keep theirs, and what nobody needs goes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.cube.reading import Reading
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.info.status import status
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.mapping.opened import open_latents
from terralatent.pipeline.store.history import expire, find_snapshot, history
from terralatent.pipeline.store.repository import Store
from tests.commands.contents import contents
from tests.commands.mishaps import Mishap
from tests.commands.plans import FilledStore, Plan
from tests.commands.processes import Launcher
from tests.made.catalogue import region
from tests.made.models import made_up_model
from tests.pipeline.interruptions.test_kills import kill, without_first

S1 = "sentinel-1-asc"
DATES = "2018-05-04,2018-05-20"
NOW = timedelta(0)


@pytest.fixture(scope="module")
def grown(radar: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cube that grew by one date, and latents of before; not to be changed."""
    folder = tmp_path_factory.mktemp("grown")
    build_cube(without_first(radar), region(), folder / "cube", block=16, client=workers)
    model = made_up_model(folder / "cube", folder / "model")
    embed(folder / "cube", model, folder / "latents", dates=DATES, client=workers)
    build_cube(radar, region(), folder / "cube", block=16, client=workers)
    return folder


@pytest.fixture
def copied(grown: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return shutil.copytree(grown, tmp_path / "grown")


def dates(cube: Path, at: str | None = None) -> int:
    return open_cube(cube, snapshot=find_snapshot(Store.of(cube), at))[S1].sizes["time"]


def test_every_state_opens_as_it_was(grown: Path) -> None:
    cube = grown / "cube"
    states = history(cube)

    assert [state.message for state in states] == [
        "grow to 2018-05-31",
        "build",
        "lay out the cube",
    ]
    assert [dates(cube, state.id) for state in states] == [2, 1, 1]
    assert dates(cube, states[1].id[:8].lower()) == 1
    assert status(cube, at=states[1].id).cube.sensors[S1].dates.count == 1  # type: ignore[union-attr]
    assert states[0].id == Store.of(cube).snapshot() == status(cube).snapshot


def test_a_result_keeps_the_state_that_it_was_made_from(grown: Path) -> None:
    (kept,) = [state for state in history(grown / "cube") if state.kept_for]
    latents = open_latents(grown / "latents")

    assert kept.id == latents.attrs["cube_snapshot"]
    assert find_snapshot(Store.of(grown / "cube"), kept.kept_for[0]) == kept.id

    # The same command, at that state, finds all done; the cube has grown since.
    model = grown / "model"
    report = embed(
        grown / "cube", model, grown / "latents", dates=DATES, at=kept.id[:6], client="tcp://no:1"
    )
    assert report.computed == 0


def test_an_earlier_state_is_exported_and_paired(grown: Path, tmp_path: Path) -> None:
    earlier = history(grown / "cube")[1].id
    export(grown / "cube", tmp_path / "out.zarr", at=earlier)
    assert Store.of(tmp_path / "out.zarr").group()[f"{S1}/time"].shape == (1,)
    assert plan_job(grown / "cube", grown / "model", DATES, Reading(at=earlier)).snapshot == earlier


def test_what_is_old_goes_and_what_a_result_keeps_stays(copied: Path) -> None:
    cube = copied / "cube"
    newest, kept, laid_out = history(cube)
    before, size = contents(cube), status(cube).bytes

    assert expire(cube, timedelta(days=1)).dropped == ()

    report = expire(cube, NOW)

    assert report.dropped == (laid_out.id,)
    assert report.kept == (kept,)
    assert history(cube) == (newest, kept)
    assert (dates(cube), dates(cube, kept.id)) == (2, 1)
    assert contents(cube) == before

    report = expire(cube, NOW, release=kept.kept_for)

    assert report.dropped == (kept.id,)
    assert report.bytes > 0
    assert status(cube).bytes < size  # type: ignore[operator]
    assert history(cube) == (newest,)
    assert contents(cube) == before
    with pytest.raises(InputError, match=r"no snapshot .* history, as .* lists them"):
        find_snapshot(Store.of(cube), kept.id)


def test_what_killed_runs_left_goes_too(
    radar_plan: Plan, filling: Callable[[Plan], FilledStore]
) -> None:
    store = filling(radar_plan)
    kill(store, Mishap("merged", "kill"))
    assert store.run().code == 0
    chunks = len(list((store.path / "chunks").iterdir()))

    expire(store.path, NOW)

    assert len(list((store.path / "chunks").iterdir())) < chunks
    assert store.is_whole()


def test_the_command_line_lists_and_lets_go(copied: Path, launcher: Launcher) -> None:
    cube = copied / "cube"
    page = launcher.run("status", cube, "--history")
    assert page.code == 0
    assert "grow to 2018-05-31" in page.output
    assert "kept for latents-" in page.output
    listed = json.loads(launcher.run("status", cube, "--history", "--json").output)["snapshots"]
    assert [state["id"] for state in listed] == [state.id for state in history(cube)]

    ended = launcher.run(
        "expire", cube, "--older-than", "0D", "--release", listed[1]["kept_for"][0]
    )

    assert ended.code == 0
    assert "2 snapshots dropped" in ended.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--older-than", "much"), "'much' is no age; give one such as 30D or 12h"),
        (("--older-than", "-3D"), "'-3D' is no age"),
        (("--older-than", "1D", "--release", "nobody"), "keeps nothing for nobody; its history"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    grown: Path, launcher: Launcher, options: tuple[str, ...], words: str
) -> None:
    ended = launcher.run("expire", grown / "cube", *options)
    assert ended.code == 2
    assert words in ended.output
    assert "Traceback" not in ended.output


def test_plain_zarr_has_no_history(grown: Path, tmp_path: Path) -> None:
    export(grown / "latents", tmp_path / "plain.zarr")
    with pytest.raises(InputError, match="plain Zarr, which has no history"):
        history(tmp_path / "plain.zarr")
    assert np.isfinite(open_latents(tmp_path / "plain.zarr")["mean"]).any()
