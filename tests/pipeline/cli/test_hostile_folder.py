"""No verb runs a file of the folder it is typed in, however that is called."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.made.catalogue import region
from tests.made.models import made_up_model
from tests.waiting import WITHIN_S

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "terralatent")

CALLED_AS = (
    "multiprocessing", "typing", "json", "socket", "logging", "distributed", "dask", "numpy",
    "zarr", "torch", "xarray", "terralatent", "catalogs", "pipeline", "models", "sitecustomize",
    "usercustomize", "starlette", "uvicorn",
)  # fmt: skip
"""Modules that our processes import."""


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder full of files that say when they are run."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in CALLED_AS:
        text = f"open({str(tmp_path / 'run')!r}, 'a').write({name!r} + '\\n')\n"
        (folder / f"{name}.py").write_text(text)
    return folder


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, as a user's shell does."""
    dropped = ("PYTHONSAFEPATH", "PYTHONPATH")
    return subprocess.run(
        [PROGRAM, "--quiet", *map(str, arguments)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in dropped},
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )


PERIOD = ("--start", "2018-05-01", "--end", "2018-05-31")


def box() -> str:
    """The region as an option."""
    return ",".join(map(str, region().bounds))


def test_a_build_and_its_workers_run_no_file_of_the_current_folder(
    hostile: Path, catalogue: Path, tmp_path: Path
) -> None:
    found = ("--source", catalogue, "--region", box(), *PERIOD, "--sensor", "sentinel-1-asc")

    done = run(hostile, "build", *found, "--out", tmp_path / "cube", "--workers", 1)

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run").exists(), (tmp_path / "run").read_text()


@pytest.mark.soak
def test_no_verb_runs_a_file_of_the_current_folder(
    hostile: Path, catalogue: Path, cube: Path, tmp_path: Path
) -> None:
    model = made_up_model(cube, tmp_path / "model")
    period = ("--region", box(), *PERIOD)
    one = ("--workers", 1)
    out = {name: tmp_path / name for name in ("cube", "latents", "bands", "trained", "scenes")}
    for command in (
        ("sources",),
        ("search", "--source", catalogue, *period, "--out", out["scenes"]),
        ("build", "--scenes", out["scenes"], *period[:2], "--out", out["cube"], *one),
        ("train", cube, "--out", out["trained"], "--steps", 1, "--latents", 2),
        ("embed", cube, model, "--dates", "2018-05-15", "--out", out["latents"], *one),
        ("decode", cube, model, "--sensor", "sentinel-1-asc", "--dates", "2018-05-15",
         "--out", out["bands"], *one),
        ("show", out["latents"], "--out", tmp_path / "picture.png"),
        ("export", out["latents"], "--out", tmp_path / "latents.zarr"),
        ("status", out["cube"]),
        ("check", out["cube"]),
        ("expire", out["cube"], "--older-than", "1D"),
        ("simulate", "--out", tmp_path / "simulated", "--size", 32),
        ("demo", "--out", tmp_path / "demo", "--size", 64),
    ):  # fmt: skip
        done = run(hostile, *command)
        assert done.returncode == 0, (command[0], done.stderr)
        assert not (tmp_path / "run").exists(), (command[0], (tmp_path / "run").read_text())


def test_serve_runs_no_file_of_the_current_folder(
    hostile: Path, catalogue: Path, tmp_path: Path
) -> None:
    script = (
        "import os, signal, sys\n"
        "from terralatent.catalogs.documents.serve import serve\n"
        "from terralatent.pipeline.cli import app\n"
        "serve(sys.argv[1], 0, ready=lambda url: os.kill(os.getpid(), signal.SIGINT))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(catalogue)],
        cwd=hostile,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run").exists(), (tmp_path / "run").read_text()
