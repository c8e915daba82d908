"""Seconds to import what opens a store, beside the libraries that read it."""

from __future__ import annotations

import subprocess
import sys

__all__ = ["import_seconds"]

LIBRARIES = "import xarray, dask.array, zarr, icechunk, rioxarray"
OURS = "import terralatent\nterralatent.open_cube, terralatent.open_latents"

CLOCK = """
import time
start = time.perf_counter()
{code}
print(time.perf_counter() - start)
"""


def import_seconds(rounds: int) -> tuple[float, float]:
    """The least of some rounds, side by side: of the libraries alone, and with ours."""
    found: dict[str, list[float]] = {LIBRARIES: [], f"{LIBRARIES}\n{OURS}": []}
    for _ in range(rounds):
        for code, seconds in found.items():
            command = [sys.executable, "-c", CLOCK.format(code=code)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds.append(float(done.stdout))
    libraries, both = (min(seconds) for seconds in found.values())
    return libraries, both
