"""1,000 tiles: planned, built in part, killed, resumed to the end, their status taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import geopandas
import pytest
from shapely.geometry import box

from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.simulation.simulate import simulate
from terralatent.pipeline.fleet.fleet import Fleet
from terralatent.pipeline.store.lock.writer import read_run

MAIN = "from terralatent.pipeline.cli import main; main()"

ACROSS, DOWN, PIXELS = 40, 25, 4
"""Tiles, and pixels along a side of one."""

WITHIN_S = 3_600


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command line as a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.soak
def test_a_thousand_tiles_are_planned_killed_and_resumed(tmp_path: Path) -> None:
    size = PIXELS * ACROSS
    simulate(tmp_path / "SCENES", size=size, years=1)
    region = tmp_path / "SCENES" / "region.geojson"
    frame = geopandas.read_file(region)
    crs = frame.estimate_utm_crs()
    west, _, _, north = (10 * round(edge / 10) for edge in frame.to_crs(crs).total_bounds)
    step = 10 * PIXELS
    squares = [
        box(west + step * x + 1, north - step * y - step + 1, west + step * x + step - 1,
            north - step * y - 1)
        for y in range(DOWN)
        for x in range(ACROSS)
    ]  # fmt: skip
    names = [f"t{number:04d}" for number in range(len(squares))]
    geopandas.GeoDataFrame({"tile": names}, geometry=squares, crs=crs).to_file(
        tmp_path / "grid.geojson"
    )
    fleet = Fleet.plan(region, tmp_path / "grid.geojson", tmp_path / "fleet.parquet")
    assert len(fleet.tiles) == 1_000
    radar = search_scenes(
        tmp_path / "SCENES", region, "2018-05-01", "2018-05-31", ["sentinel-1-asc"]
    )
    radar.to_parquet(tmp_path / "scenes.parquet")
    typed = (
        "build", "--fleet", fleet.path, "--scenes", tmp_path / "scenes.parquet", "--block", "4",
        "--workers", "2", "--at-once", "8",
    )  # fmt: skip

    done = 0
    for number in (signal.SIGKILL, signal.SIGINT):
        command = start(*typed)
        until = time.monotonic() + WITHIN_S
        while fleet.status().counts()["cube"]["done"] < done + 40:
            assert command.poll() is None, command.communicate()
            assert time.monotonic() < until
            time.sleep(1.0)
        os.killpg(command.pid, number)
        output, _ = command.communicate(timeout=120)
        assert command.returncode == (-number if number == signal.SIGKILL else 130), output
        now = fleet.status().counts()["cube"]["done"]
        assert done + 40 <= now < 1_000
        done = now

    command = start(*typed)
    output, _ = command.communicate(timeout=WITHIN_S)
    assert command.returncode == 0, output
    assert f"{done:,} done before" in output
    assert fleet.status().counts()["cube"]["done"] == 1_000
    assert not any(read_run(tile.store("cube").location) for tile in fleet.tiles)

    begun = time.monotonic()
    command = start(*typed)
    output, _ = command.communicate(timeout=WITHIN_S)
    assert "0 of 1,000 tiles" in output
    print(f"a run of 1,000 tiles that are done: {time.monotonic() - begun:.1f} s")  # noqa: T201
