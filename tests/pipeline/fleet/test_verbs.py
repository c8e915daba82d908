"""Fleets at the command line: one store or a fleet, never both; pages, JSON and pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cli.app import app
from terralatent.pipeline.fleet.fleet import Fleet
from tests.made.catalogue import region
from tests.made.opened import labels_of_squares
from tests.pipeline.fleet.made import fleet_of_cubes, planned_fleet, write_grid


def run(*arguments: str | Path) -> int:
    """Run a command here; gives its exit code."""
    return int(app(args=[str(own) for own in arguments], standalone_mode=False) or 0)


@pytest.mark.parametrize(
    "words",
    [
        ("embed", "--fleet", "FLEET", "model", "other"),
        ("embed", "--fleet", "FLEET", "--out", "latents"),
        ("annual", "cube", "model", "--fleet", "FLEET"),
        ("classify", "latents", "--fleet", "FLEET", "--labels", "l", "--column", "c"),
        ("build", "--fleet", "FLEET", "--region", "0,0,1,1"),
        ("status", "cube", "--fleet", "FLEET"),
        ("publish", "cube", "--fleet", "FLEET", "--out", "out"),
    ],
)
def test_a_store_and_a_fleet_are_not_both_taken(words: tuple[str, ...], tmp_path: Path) -> None:
    path = planned_fleet(tmp_path).path
    with pytest.raises(InputError, match=r"--fleet says which stores, and so does .*; give one"):
        run(*(path if word == "FLEET" else word for word in words))


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (("embed",), "argument 'CUBE'"),
        (("annual", "cube"), "option '--out'"),
        (("classify", "--labels", "l", "--column", "c"), "argument 'LATENTS'"),
        (("build", "--out", "cube"), "option '--region'"),
        (("status",), "argument 'STORE'"),
        (("publish", "--out", "out"), "argument 'STORE'"),
    ],
)
def test_one_of_them_is_wanted(words: tuple[str, ...], missing: str) -> None:
    with pytest.raises(InputError, match=rf"Missing {missing}; give it, or --fleet FILE"):
        run(*words)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("build", "--resolution", "20"), "plan of a fleet says resolution"),
        (("build", "--dry-run"), "--dry-run is for one region"),
        (("embed", "--calibrate"), "--calibrate and --at are for one cube"),
        (("embed", "--wide"), "are for tables"),
        (("status", "--history"), "are for one store"),
        (("classify", "--labels", "l", "--column", "c", "--cog", "x.tif"), "are for one map"),
    ],
)
def test_what_a_fleet_does_not_take_is_refused(
    words: tuple[str, ...], wrong: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=wrong):
        run(*words, "--fleet", planned_fleet(tmp_path).path)


def test_from_plan_to_status_by_commands(
    catalogue: Path, workers: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    west, south, east, north = region().bounds
    grid, out = write_grid(tmp_path / "grid.geojson"), tmp_path / "fleet.parquet"
    place = f"{west},{south},{east},{north}"
    assert run("fleet", "plan", "--region", place, "--grid", grid, "--out", out) == 0
    where = ("--client", workers.scheduler.address, "--sensor", "sentinel-1-asc")
    period = ("--start", "2018-05-01", "--end", "2018-05-31")
    assert run("build", "--fleet", out, "--source", catalogue, *period, *where) == 0
    capsys.readouterr()
    assert run("status", "--fleet", out, "--json", "--picture", tmp_path / "map.png") == 0
    assert json.loads(capsys.readouterr().out)["counts"]["cube"]["done"] == 4
    assert (tmp_path / "map.png").exists()
    assert run("status", "--fleet", out) == 0
    page = capsys.readouterr().out
    assert re.search(r"\b4\s+tiles\b", page)
    assert "not begun" in page


@pytest.mark.soak  # what the commands call is tried in every run
def test_latents_and_maps_by_commands(
    workers: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, model = fleet_of_cubes(tmp_path / "fleet")
    labels_of_squares().to_file(tmp_path / "labels.geojson")
    where = ("--fleet", fleet.path, "--client", workers.scheduler.address)
    assert run("embed", *where, model, "--dates", "2017-09-15,2018-03-15") == 0
    assert run("classify", *where, "--labels", tmp_path / "labels.geojson", "--column", "crop") == 0
    assert "mapped ha" in capsys.readouterr().out
    counts: Any = Fleet.open(fleet.path).status().counts()
    assert counts["landcover"]["done"] == 4
    assert (tmp_path / "fleet" / "fleet.landcover.report.json").exists()
