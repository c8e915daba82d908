"""From the command to the result of one block: what starting costs, beside the work itself."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

__all__ = ["time_start"]

WANTED_S, WANTED_IMPORTS_S = 6.0, 2.0
"""What a block may take from command to result where compiled code is kept, and the imports of that
in the process of the command; its workers' are done beside them."""

IMPORTS = "import terralatent.pipeline.cli.app, terralatent.pipeline.mapping.embed"


def time_start(cube: Path, model: Path | None, folder: Path, rounds: int) -> None:
    """Print what ``terralatent embed`` takes for a cube of one block, and its imports alone.

    Args:
        cube: Of one block.
        model: A model's folder; the one that comes with the package if None.
        folder: Where results are written.
        rounds: How often either is done, in turns, after a run that is not counted.
    """
    program = str(Path(sysconfig.get_path("scripts"), "terralatent"))
    chosen = [] if model is None else [str(model)]
    runs, imports, burnt = [], [], []
    for turn in range(-1, rounds):
        out = folder / f"block {turn}"
        command = [program, "--quiet", "embed", str(cube), *chosen, "--out", str(out)]
        wall, _ = _cost(command)
        of_imports = _cost([sys.executable, "-c", IMPORTS])
        if turn >= 0:
            runs.append(wall)
            imports.append(of_imports[0])
            burnt.append(of_imports[1])
    load = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    print(f"processes that want a core, of this and all else: {load:.1f}")
    print(f"from command to result: {median(runs):.1f} s, at least {min(runs):.1f} "
          f"(median of {rounds}; wanted: under {WANTED_S:g} on 2 cores)")  # fmt: skip
    print(f"its imports: {median(imports):.1f} s, at least {min(imports):.1f}, of a core "
          f"{min(burnt):.1f} (wanted: under {WANTED_IMPORTS_S:g})")  # fmt: skip


def _cost(command: Sequence[str]) -> tuple[float, float]:
    """Seconds until a command has ended, and of processors in its own process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = time.perf_counter() - began
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
