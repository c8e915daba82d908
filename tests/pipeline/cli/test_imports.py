"""What each verb does not import: what it has no use for, and would be waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made.opened import Stores
from tests.waiting import WITHIN_S

HEAVY = (
    *("torch", "gpytorch", "lightning", "numba", "sklearn", "geopandas", "pandas", "xarray"),
    *("rioxarray", "rasterio", "dask.array", "distributed", "zarr", "icechunk", "scipy.ndimage"),
    *("pyarrow", "pystac", "matplotlib", "matplotlib.pyplot", "bokeh"),
)

CODE = f"""
import atexit, sys
sys.argv[0] = "terralatent"
atexit.register(lambda: print("imported:", *({HEAVY!r} & sys.modules.keys()), file=sys.stderr))
from terralatent.pipeline.cli import main
main()
""".replace(repr(HEAVY), repr(set(HEAVY)))


def imported(*arguments: object) -> set[str]:
    """What a command in a process of its own has imported when it ends well."""
    ended = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [["--help"], ["embed", "--help"], ["show", "--help"]])
def test_help_imports_nothing_that_is_heavy(arguments: list[str]) -> None:
    assert imported(*arguments) == set()


@pytest.mark.parametrize("verb", ["status", "check"])
def test_what_a_store_holds_is_read_from_the_store_alone(verb: str, stores: Stores) -> None:
    assert imported(verb, stores["latents"]) == {"zarr", "icechunk"}


def test_pictures_are_drawn_without_a_model_or_workers(stores: Stores, tmp_path: Path) -> None:
    heavy = imported("show", stores["latents"], "--out", tmp_path / "latents.png")

    assert not heavy & {"torch", "distributed", "geopandas", "scipy.ndimage", "matplotlib.pyplot"}


def test_who_maps_a_cube_of_a_store_waits_for_no_xarray(stores: Stores, tmp_path: Path) -> None:
    """GPyTorch is of training, xarray and what hangs on it of who opens the result."""
    out = tmp_path / "latents"

    heavy = imported("embed", stores["cube"], stores["model"], "--out", out, "--workers", 1)

    assert heavy == {"torch", "distributed", "zarr", "icechunk", "scipy.ndimage", "pyarrow"}
