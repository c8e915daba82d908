"""``map``: search, build and embed in one end with the bytes of the three verbs one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from distributed import Client

from terralatent.pipeline import open_cube, open_latents
from terralatent.pipeline.pictures.cube import sensors_of
from tests.made.catalogue import region
from tests.pipeline.cli.test_cli import Run, run

__all__ = ["run"]  # the fixture

PERIOD = ("--start", "2018-05-01", "--end", "2018-05-31")


def test_one_command_is_the_three_and_goes_on(
    run: Run, catalogue: Path, workers: Client, tmp_path: Path
) -> None:
    where = ",".join(str(edge) for edge in region().bounds)
    scenes = ("--source", catalogue, *PERIOD, "--region", where, "--block", 32)
    client = ("--client", workers.scheduler.address)
    dates = ("--dates", "2018-05-20")
    whole = ("map", *scenes, *client, *dates, "--out", tmp_path / "map")
    code, text = run(*whole)
    assert code == 0, text

    cube, latents = tmp_path / "cube", tmp_path / "latents"
    assert run("build", *scenes, *client, "--out", cube)[0] == 0
    assert run("embed", cube, *client, *dates, "--out", latents)[0] == 0
    mapped, built = open_cube(tmp_path / "map" / "cube"), open_cube(cube)
    assert sensors_of(mapped) == sensors_of(built) != []
    for name in sensors_of(built):
        np.testing.assert_array_equal(mapped[name]["data"].values, built[name]["data"].values)
    stored = open_latents(tmp_path / "map" / "latents")
    for name in ("mean", "std"):
        np.testing.assert_array_equal(stored[name], open_latents(latents)[name])

    code, text = run(*whole)
    assert code == 0
    assert "0 of 4 blocks (the others were done)" in text


def test_a_mistake_is_named_before_anything_is_kept(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "map"
    code, text = run("map", "--region", "0,0,1,1", "--out", out)
    assert (code, text.count("\n")) == (2, 1)
    assert "--source, --start and --end" in text
    assert not out.exists()
