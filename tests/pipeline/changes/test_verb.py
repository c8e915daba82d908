"""The verb on a command line, whole and killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

import terralatent as tl
from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cli.app import app
from terralatent.pipeline.store.repository import Store
from tests.commands.contents import contents
from tests.commands.mishaps import Mishap
from tests.commands.plans import FilledStore, Plan, computed, some_and_all
from tests.commands.processes import Launcher
from tests.pipeline.changes.conftest import Grown

BETWEEN = ("--between", "2017-10-15", "2018-02-01")


def run(*words: object) -> int:
    return app(args=[str(word) for word in words], standalone_mode=False) or 0


@pytest.fixture(scope="module")
def plan(grown: Grown, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The map between two dates, in four blocks."""
    whole = tmp_path_factory.mktemp("changes") / "whole"
    tl.changes(grown.newer, between=BETWEEN[1:], out=whole, client=workers)
    return Plan(("changes", str(grown.newer), *BETWEEN, "--out"), contents(whole), 4)


def test_the_verb_maps_says_how_much_and_status_shows_it(
    grown: Grown, workers: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, where = tmp_path / "moved", ("--client", workers.scheduler.address)

    assert run("changes", grown.newer, *BETWEEN, "--out", out, *where) == 0
    assert "of 306 pixels changed (false discovery rate 0.05)" in capsys.readouterr().err
    assert run("status", out) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "changes of latents between 2017-10-15 and 2018-02-01" in page
    assert "of 306 pixels beyond chance" in page
    assert run("status", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["result"]["provenance"]["marked"][0]["tests"] == 306


def test_runs_are_named_by_their_paths(
    grown: Grown, workers: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--between", grown.older, grown.newer, "--date", "2018-03-15")
    where = ("--out", tmp_path / "runs", "--client", workers.scheduler.address)

    assert run("changes", grown.newer, *words, *where) == 0
    assert "pixels changed" in capsys.readouterr().err


def test_mistakes_are_named(grown: Grown, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a date, such as"):
        run("changes", grown.newer, "--between", "then", "now", "--out", tmp_path / "out")


@pytest.mark.soak  # `embed` is killed in every run, by the same code
@some_and_all(
    (
        (Mishap("before commit", "kill", nth=2), 0),
        (Mishap("after commit", "kill", nth=2), 2),
        (Mishap("before commit", "kill", nth=4), 4),  # all is computed, and nothing marked
    ),
    slice(2, 3),
)
def test_a_killed_map_goes_on_and_ends_with_the_same_bytes(
    plan: Plan, launcher: Launcher, tmp_path: Path, points: tuple[tuple[Mishap, int], ...]
) -> None:
    for at, (mishap, done) in enumerate(points):
        folder = tmp_path / str(at)
        folder.mkdir()
        store = FilledStore(plan, launcher, folder)
        killed = store.run(mishap=mishap)
        assert killed.code == -signal.SIGKILL, killed.output
        assert blocks_done(store) == done

        ended = store.run()

        assert ended.code == 0, ended.output
        assert computed(ended) == 4 - done
        assert store.is_whole()


def blocks_done(store: FilledStore) -> int:
    """Also where all of them are, and nothing is marked."""
    return int(np.count_nonzero(np.asarray(Store.of(store.path).group()["state"])))
