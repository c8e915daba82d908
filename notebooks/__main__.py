"""Execute notebooks from their sources, each in an empty folder: ``python notebooks 1 2 8``.

``--keep`` rewrites the ``.ipynb`` beside each source; without it nothing is kept.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from PIL import Image

FOLDER = Path(__file__).resolve().parent

CELL_WITHIN_S = 600
"""So long may a cell take: a machine with other work to do is slow."""

MOST_BYTES = 150_000
"""Of a picture."""

COLOURS = range(256, 48, -8)
"""Of a picture's palette, the first with which it is small enough."""

OF_A_RUN = re.compile("━| at 0x")
"""In a bar of progress, which says how long a run took, and in an object without a text of its own:
neither is kept."""


def sources(names: list[str]) -> list[Path]:
    """The sources whose names begin with these numbers; all by default."""
    found = sorted(FOLDER.glob("[0-9]*.py"))
    chosen = [path for path in found if not names or path.stem.partition("-")[0] in names]
    if len(chosen) < len(set(names)):
        sys.exit(f"notebooks: there are {', '.join(path.stem for path in found)}; give numbers")
    return chosen


def execute(source: Path, folder: str) -> nbformat.NotebookNode:
    """Run the cells of a source with ``folder`` as the current one."""
    notebook = jupytext.read(source)
    NotebookClient(
        notebook,
        timeout=CELL_WITHIN_S,
        startup_timeout=CELL_WITHIN_S,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # it listens on loopback, and warns of that
        resources={"metadata": {"path": folder}},
    ).execute()
    return notebook


def tidy(notebook: nbformat.NotebookNode, folder: str) -> nbformat.NotebookNode:
    """Leave out what would differ in the next run: bars, addresses, the folder, random ids."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        if cell.cell_type == "code":
            cell.outputs = [
                output for output in cell.outputs if not OF_A_RUN.search(text_of(output))
            ]
            for data in [output.get("data", output) for output in cell.outputs]:
                for kind in data.keys() & {"text", "text/plain", "text/html"}:
                    data[kind] = data[kind].replace(f"{folder}/", "")
                if "image/png" in data:
                    data["image/png"] = shrunk(data["image/png"])
    notebook.metadata.pop("language_info", None)
    notebook.metadata.pop("jupytext", None)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def text_of(output: Any) -> str:
    """What an output says as plain text."""
    return str(output.get("data", {}).get("text/plain", ""))


def shrunk(picture: str) -> str:
    """A PNG in base64, with fewer colours where it is above :data:`MOST_BYTES`."""
    content = base64.b64decode(picture)
    if len(content) <= MOST_BYTES:
        return picture
    drawn = Image.open(BytesIO(content)).convert("RGB")
    for colours in COLOURS:
        stream = BytesIO()
        palette = drawn.quantize(colours, Image.Quantize.FASTOCTREE)
        palette.save(stream, format="PNG", optimize=True)
        if stream.tell() <= MOST_BYTES:
            return base64.b64encode(stream.getvalue()).decode("ascii")
    sys.exit(f"a picture of {drawn.width} x {drawn.height} pixels is above {MOST_BYTES} bytes")


def main() -> None:
    """Execute what is named, one after the other, and print the seconds of each."""
    parser = argparse.ArgumentParser(prog="python notebooks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NUMBER", help="of a notebook; all by default")
    parser.add_argument("--keep", action="store_true", help="rewrite the .ipynb of each")
    given = parser.parse_args()
    seconds = {}
    for source in sources(given.names):
        print(f"executing {source.name}", flush=True)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                notebook = execute(source, folder)
            except (CellExecutionError, CellTimeoutError) as error:
                sys.exit(f"{source.name}: {error}")
        seconds[source.name] = time.monotonic() - begun
        if given.keep:
            nbformat.write(tidy(notebook, folder), source.with_suffix(".ipynb"))
    for name, took in seconds.items():
        print(f"{name:32} {took:5.0f} s")


if __name__ == "__main__":
    main()
