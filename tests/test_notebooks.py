"""Notebooks: the executed one is that of its source, short and small, and the source runs."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCES = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.py"))

MOST_LINES = 40
"""Of code in a notebook."""

MOST_BYTES = 150_000
"""Of a picture."""

WITHIN_S = 900.0


def cells(source: str) -> list[tuple[str, str]]:
    """Kind and text of each cell of a source in the percent form."""
    parts = re.split(r"^# %%( \[markdown\])?\n", source, flags=re.MULTILINE)[1:]
    found = []
    for markdown, text in zip(parts[::2], parts[1::2], strict=True):
        body = re.sub(r"^# ?", "", text, flags=re.MULTILINE) if markdown else text
        found.append(("markdown" if markdown else "code", body.strip()))
    return found


def executed(source: Path) -> dict[str, Any]:
    return dict(json.loads(source.with_suffix(".ipynb").read_text()))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_executed_notebook_is_that_of_its_source(source: Path) -> None:
    notebook = executed(source)
    stored = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook["cells"]]
    assert stored == cells(source.read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    assert not [out for cell in code for out in cell["outputs"] if out["output_type"] == "error"]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebooks_are_short_and_their_pictures_small(source: Path) -> None:
    code = "\n".join(text for kind, text in cells(source.read_text()) if kind == "code")
    lines = [line for line in code.splitlines() if line and not line.startswith("#")]
    assert len(lines) < MOST_LINES
    ast.parse(code)
    for cell in executed(source)["cells"]:
        for out in cell.get("outputs", ()):
            picture = "".join(out.get("data", {}).get("image/png", ""))
            assert len(base64.b64decode(picture)) <= MOST_BYTES
            assert "/tmp/" not in json.dumps(out), "a folder of whoever ran it"


@pytest.mark.soak
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_source_runs(source: Path, tmp_path: Path) -> None:
    # As in a notebook the main module is no file, which worker processes would import.
    done = subprocess.run(
        [sys.executable, "-c", source.read_text()],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stderr
