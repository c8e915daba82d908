"""Bytes that are read to compute one block of lazy latents, by the kernel's count."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.embed.cube import repeated_cube

__all__ = ["read_of_a_block"]

READ = """
import sys
from pathlib import Path
import terralatent as tl

def read():
    return int(Path("/proc/self/io").read_text().split()[1])

warm, cube, model, block, place = sys.argv[1:]
block, place = int(block), int(place)
at = slice(place * block, (place + 1) * block)
tl.embed(warm, model, dates="monthly").compute(scheduler="synchronous")  # imports, compilation
before = read()
part = tl.embed(cube, model, dates="monthly").isel(y=at, x=at)
part[["mean", "std"]].compute(scheduler="synchronous")
print(read() - before)
"""


def read_of_a_block(source: Path, model: Path, side: int, block: int) -> tuple[int, int]:
    """Bytes read to compute a block in the midst of a cube, and bytes that a block has stored.

    The block and its neighbours are written, of which the masks along its edge are read as well;
    the rest of the cube has no data.
    """
    middle = side // block // 2
    near = range(middle - 1, middle + 2)
    cube = repeated_cube(source, side, block, [(row, column) for row in near for column in near])
    one = repeated_cube(source, block, block)
    command = [sys.executable, "-c", READ, str(one), str(cube), str(model), str(block), str(middle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    stored = sum(path.stat().st_size for path in (one / "chunks").iterdir())
    return int(done.stdout.strip().rsplit("\n", 1)[-1]), stored
