"""An export that is killed leaves no half of a file under its name; the same command goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import rasterio

from terralatent.pipeline.export.cog import export_cogs
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.export.netcdf import export_netcdf
from tests.commands.mishaps import Mishap
from tests.commands.processes import Launcher

# Where exports of COGs are killed, run after run, and how many files are there then.
KILLED = (
    (Mishap("before cog", "kill"), 0),
    (Mishap("cog made", "kill", nth=2), 1),
    (Mishap("cog in place", "kill", nth=2), 3),
)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.soak
def test_killed_cogs_go_on_file_by_file_and_end_with_the_same_bytes(
    latents: Path, launcher: Launcher, tmp_path: Path
) -> None:
    wanted = files(export_cogs(latents, tmp_path / "whole"))
    out = tmp_path / "cogs"
    command = ("export", latents, "--out", out, "--format", "cog")
    for number, (mishap, count) in enumerate(KILLED):
        killed = launcher.run(*command, mishaps=(mishap,), folder=tmp_path / str(number))
        assert killed.code == -signal.SIGKILL, killed.output
        there = sorted(out.glob("*.tif"))
        assert len(there) == count
        for path in there:
            assert path.read_bytes() == wanted[path.name]
            with rasterio.open(path) as file:
                assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    kept = {path: path.stat().st_mtime_ns for path in there}

    ended = launcher.run(*command)

    assert ended.code == 0, ended.output
    assert files(out) == wanted
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


@pytest.mark.parametrize(
    ("name", "mishap"),
    [
        ("out.nc", Mishap("shard exported", "kill", nth=2)),
        ("out.zarr", Mishap("zarr filled", "kill")),
    ],
)
def test_what_is_one_piece_is_not_there_after_a_kill_and_then_whole(
    latents: Path, launcher: Launcher, tmp_path: Path, name: str, mishap: Mishap
) -> None:
    command = ("export", latents, "--out", tmp_path / name)
    killed = launcher.run(*command, mishaps=(mishap,), folder=tmp_path / "counts")
    assert killed.code == -signal.SIGKILL, killed.output
    assert not (tmp_path / name).exists()
    assert (tmp_path / f".{name}.new").exists()

    ended = launcher.run(*command)

    assert ended.code == 0, ended.output
    assert not (tmp_path / f".{name}.new").exists()
    if name.endswith(".zarr"):
        assert files(tmp_path / name) == files(export(latents, tmp_path / "other.zarr"))
    else:
        assert export_netcdf(latents, tmp_path / name) == tmp_path / name  # and is this export


@pytest.mark.parametrize("place", ["cog made", pytest.param("before cog", marks=pytest.mark.soak)])
def test_a_full_disk_is_one_line_and_leaves_no_half_file(
    latents: Path, launcher: Launcher, tmp_path: Path, place: str
) -> None:
    out = tmp_path / "cogs"
    command = ("--quiet", "export", latents, "--out", out, "--format", "cog")
    full = launcher.run(
        *command, mishaps=(Mishap(place, "full disk", nth=3),), folder=tmp_path / "counts"
    )

    assert full.code == 2, full.output
    last = [line for line in full.output.splitlines() if line.startswith("error: ")]
    assert len(last) == 1
    assert last[0].startswith(f"error: Cannot write {out}: ")
    assert 2 <= len(list(out.glob("*.tif"))) <= 3
    for path in out.glob("*.tif"):
        with rasterio.open(path) as file:
            file.read()
    assert launcher.run(*command).code == 0
    assert len(list(out.glob("*.tif"))) == 6
