"""``import terralatent``: every public name, imported when it is asked for, and typed."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import terralatent
from tests.waiting import WITHIN_S

FACE = Path(__file__).resolve().parents[1] / "terralatent"

OPENING = (
    "open_cube", "open_latents", "open_bands", "open_annual", "open_landcover", "open_changes"
)  # fmt: skip
READERS = {"xarray", "dask", "zarr", "icechunk", "rioxarray"}
NOT_OF_READERS = {
    "torch", "lightning", "gpytorch", "distributed", "numba", "pystac", "pystac_client", "rustac",
    "geopandas", "sklearn", "matplotlib", "pydantic", "typer", "rich",
}  # fmt: skip
"""What none of the libraries that read a store needs."""


def test_the_folder_holds_nothing_else() -> None:
    held = {path.name for path in FACE.iterdir() if path.name != "__pycache__"}
    assert held == {"__init__.py", "py.typed"}


def test_every_name_is_there_and_types_see_the_same() -> None:
    tree = ast.parse((FACE / "__init__.py").read_text())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.name: str(node.module)
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {name: f"terralatent.{home}" for name, home in terralatent._HOMES.items()}  # type: ignore[attr-defined]
    assert typed == homes
    assert set(terralatent.__all__) == {*homes, "__version__"}
    for name in terralatent.__all__:
        assert getattr(terralatent, name) is not None
        assert name in dir(terralatent)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        terralatent.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_the_version_is_that_of_the_package() -> None:
    assert terralatent.__version__ == version("terralatent")


def modules_after(code: str) -> set[str]:
    """The top names of all modules that a fresh process has imported after some code."""
    tail = "\nimport sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail],
        cwd=FACE.parent.parent, capture_output=True, text=True, timeout=WITHIN_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("name", ["terralatent", "terralatent.pipeline"])
def test_importing_it_imports_nothing(name: str) -> None:
    assert not modules_after(f"import {name}") & {*READERS, *NOT_OF_READERS, "numpy"}


@pytest.mark.parametrize("name", OPENING)
def test_opening_a_store_imports_what_reads_it_alone(name: str) -> None:
    found = modules_after(f"import terralatent\nterralatent.{name}")
    assert found >= READERS
    assert not found & NOT_OF_READERS
