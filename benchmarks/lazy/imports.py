"""Seconds to import what is public, and what opens a store beside the libraries that read it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence

__all__ = ["import_seconds", "import_table"]

LIBRARIES = "import xarray, dask.array, zarr, icechunk, rioxarray"
OURS = "import terralatent\nterralatent.open_cube, terralatent.open_latents"

SHOWN = (
    "import terralatent",
    "import terralatent.pipeline",
    "import terralatent.pipeline.cli.app",
    LIBRARIES,
    *(
        f"from terralatent import {name}"
        for name in ("open_cube", "search_scenes", "load_model", "build_cube", "embed", "train")
    ),
)
"""Rows of the table of imports, from what is needed first to what is needed last."""

CLOCK = """
import sys, time
start = time.perf_counter()
{code}
print(time.perf_counter() - start, "torch" in sys.modules)
"""


def import_table(rounds: int) -> Iterator[str]:
    """A line of a table for each of :data:`SHOWN`: least seconds of some rounds, and torch."""
    yield "| in a fresh process | seconds | imports torch |"
    yield "|---|---|---|"
    for code, (seconds, torch) in _least(SHOWN, rounds).items():
        yield f"| `{code}` | {seconds:.2f} | {'yes' if torch else 'no'} |"


def import_seconds(rounds: int) -> tuple[float, float]:
    """The least of some rounds, side by side: of the libraries alone, and with ours."""
    (libraries, _), (both, _) = _least((LIBRARIES, f"{LIBRARIES}\n{OURS}"), rounds).values()
    return libraries, both


def _least(codes: Sequence[str], rounds: int) -> dict[str, tuple[float, bool]]:
    """Least seconds of each, in rounds that take turns, and whether torch was imported."""
    found: dict[str, tuple[float, bool]] = {}
    for _ in range(rounds):
        for code in codes:
            command = [sys.executable, "-c", CLOCK.format(code=code)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, torch = done.stdout.split()
            least = min(float(seconds), found.get(code, (float("inf"), False))[0])
            found[code] = least, torch == "True"
    return found
