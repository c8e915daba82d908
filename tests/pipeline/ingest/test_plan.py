"""A plan states what a build then does, and does none of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from distributed import Client
from typer.testing import CliRunner

from benchmarks.ingest.file_server import counted
from benchmarks.ingest.scenes import make_scenes
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.cli.app import app
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.ingest.plan import plan_build
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import region

S2, S1 = "sentinel-2-l2a", "sentinel-1-asc"


@pytest.mark.soak
@pytest.mark.parametrize("memory", [pytest.param("4GB", marks=pytest.mark.soak), "40MB"])
def test_a_plan_tells_the_bytes_that_a_build_fetches_and_stores(
    workers: Client, tmp_path: Path, memory: str
) -> None:
    made = make_scenes(
        tmp_path / "f", side=256, dates={S2: 5, S1: 5}, tile=128, shift=44, copies=30
    )
    with counted(tmp_path / "f", tmp_path / "log") as server:
        scenes = made.scenes(server.url)
        how = {"block": 64, "memory": memory, "client": workers}

        plan = plan_build(scenes, made.region(), tmp_path / "cube", **how)
        assert not (tmp_path / "cube").exists()
        server.forget()
        report = build_cube(scenes, made.region(), tmp_path / "cube", **how)
        fetched = sum(answer.size for answer in server.answers())

    assert plan.tasks == report.tasks
    assert (plan.tasks > 2) == (memory == "40MB")
    # GDAL fetches some of it in pieces of 16 kB, which is much of files as small as these.
    assert plan.fetch == pytest.approx(fetched, rel=0.1)
    cube = Store.of(tmp_path / "cube").group()
    stored = sum(cube[f"{name}/data"].nbytes_stored() for name in (S2, S1))
    stored += cube[f"{S2}/quality"].nbytes_stored()
    assert plan.store == pytest.approx(stored, rel=0.05)
    assert plan.seconds > 0
    assert plan.workers == 2


@pytest.mark.soak
def test_a_plan_counts_what_is_not_done(made_up: Scenes, workers: Client, tmp_path: Path) -> None:
    out = tmp_path / "cube"
    how = {"block": 16, "client": workers}
    fresh = plan_build(made_up, region(), out, **how)
    build_cube(made_up, region(), out, **how)
    before = Store.of(out).snapshot()

    whole = plan_build(made_up, region(), out, **how)

    assert (fresh.there, whole.there) == (False, True)
    assert [sensor.dates for sensor in fresh.sensors] == [4, 2]
    assert [sensor.open_dates for sensor in fresh.sensors] == [4, 2]
    assert (whole.tasks, whole.fetch, whole.store, whole.seconds) == (0, 0, 0, 0)
    assert fresh.scenes == {"used": 6, "merged": 1, "dropped": 1}
    assert Store.of(out).snapshot() == before


def test_a_dry_run_prints_the_plan_and_writes_nothing(catalogue: Path, tmp_path: Path) -> None:
    where = ",".join(str(edge) for edge in region().bounds)
    command = ["build", "--source", str(catalogue), "--region", where, "--start", "2018-05-01",
               "--end", "2018-05-31", "--out", str(tmp_path / "cube"), "--dry-run"]  # fmt: skip
    before = sorted(catalogue.rglob("*"))

    page = CliRunner().invoke(app, command)
    printed = CliRunner().invoke(app, [*command, "--json"])

    assert page.exit_code == printed.exit_code == 0
    for words in (
        "40 x 40 pixels of 10 m, EPSG:32631",
        "sentinel-2-l2a",
        "6 used",
        "workers of 4GB",
    ):
        assert words in page.output
    plan = json.loads(printed.stdout[printed.stdout.index("{\n") :])
    assert plan["units"] == 2
    assert plan["fetch"] == sum(sensor["fetch"] for sensor in plan["sensors"]) > 0
    assert list(tmp_path.iterdir()) == []
    assert sorted(catalogue.rglob("*")) == before


def test_a_file_that_cannot_be_read_is_named_and_the_plan_is_made_from_the_others(
    workers: Client, tmp_path: Path
) -> None:
    made = make_scenes(tmp_path / "f", side=128, dates={S1: 3}, tile=256, shift=8)
    (tmp_path / "f" / S1 / "001" / "vh.tif").unlink()
    with counted(tmp_path / "f", tmp_path / "log") as server:
        scenes = made.scenes(server.url)
        plan = plan_build(scenes, made.region(), tmp_path / "cube", client=workers)
        for path in (tmp_path / "f" / S1).rglob("*.tif"):
            path.unlink()
        with pytest.raises(InputError, match=r"None of 6 files of .* could be read"):
            plan_build(scenes, made.region(), tmp_path / "cube", client=workers)

    (line,) = plan.sensors[0].unread
    assert line.startswith("sentinel-1-asc-001 vh: ")
    assert plan.fetch > 0
