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

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
SOURCES = sorted(FOLDER.glob("[0-9]*.py"))

MOST_LINES = 40
"""Of code in a notebook."""

MOST_BYTES, MOST_BYTES_TOGETHER = 150_000, 5_000_000
"""Of a picture, and of all executed notebooks."""

REAL = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""What would run on a real region."""

OF_A_RUN = re.compile(r"/tmp/|/home/|/root/|site-packages|\b0x[0-9a-f]{6}")
"""A folder of whoever ran it, or an address in memory."""

WITHIN_S = 900.0


def cells(source: Path, kind: str | None = None) -> list[tuple[str, str]]:
    """Kind and text of each cell of a source in the percent form, or of those of one kind."""
    parts = re.split(r"^# %%( \[markdown\])?\n", source.read_text(), flags=re.MULTILINE)[1:]
    found = []
    for markdown, text in zip(parts[::2], parts[1::2], strict=True):
        body = re.sub(r"^# ?", "", text, flags=re.MULTILINE) if markdown else text
        found.append(("markdown" if markdown else "code", body.strip()))
    return [cell for cell in found if kind in (None, cell[0])]


def executed(source: Path) -> list[dict[str, Any]]:
    """The cells of the executed notebook beside a source."""
    return list(json.loads(source.with_suffix(".ipynb").read_text())["cells"])


def outputs(source: Path) -> list[dict[str, Any]]:
    return [output for cell in executed(source) for output in cell.get("outputs", ())]


def test_there_are_nine_in_one_series() -> None:
    assert [path.stem.partition("-")[0] for path in SOURCES] == [str(n) for n in range(1, 10)]
    kept = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    assert kept == [path.stem for path in SOURCES]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= MOST_BYTES_TOGETHER


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_executed_notebook_is_that_of_its_source(source: Path) -> None:
    notebook = executed(source)
    stored = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook]
    assert stored == cells(source)
    code = [cell for cell in notebook if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_what_is_kept_of_a_run_is_neither_noise_nor_of_one_machine(source: Path) -> None:
    for output in outputs(source):
        assert output["output_type"] != "error"
        assert "Warning: " not in "".join(output.get("text", ""))  # Python's; our own are meant
        picture = "".join(output.get("data", {}).pop("image/png", ""))
        assert len(base64.b64decode(picture)) <= MOST_BYTES
        assert not OF_A_RUN.search(json.dumps(output))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebooks_are_short_and_use_what_is_public(source: Path) -> None:
    code = "\n".join(text for _, text in cells(source, "code"))
    lines = [line for line in code.splitlines() if line and not line.startswith("#")]
    assert len(lines) < MOST_LINES
    for node in ast.walk(ast.parse(code)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.startswith("terralatent.")]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_three_lines_change_for_a_real_region(source: Path) -> None:
    prose = "\n\n".join(text for _, text in cells(source, "markdown"))
    (real,) = (block for block in REAL.findall(prose) if "planetary" in block)
    assert len(ast.parse(real).body) == 3


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
