"""Lazy latents, computed, beside the same latents in a store: time, and memory of processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["compare"]

RUN = """
import resource, shutil, sys, time
import terralatent as tl
from distributed import Client, LocalCluster

how, cube, model, out = sys.argv[1:]

def peak(dask_worker=None):
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

if __name__ == "__main__":
    if how == "threads":
        begun = time.perf_counter()
        tl.embed(cube, model, dates="monthly").compute(scheduler="threads")
        print(time.perf_counter() - begun, peak(), 0.0)
    else:
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
            with Client(cluster) as client:
                client.run(lambda: __import__("terralatent").embed)
                begun = time.perf_counter()
                if how == "store":
                    shutil.rmtree(out, ignore_errors=True)
                    tl.embed(cube, model, out, dates="monthly", precision="float32", client=client)
                else:
                    tl.embed(cube, model, dates="monthly").compute()
                took = time.perf_counter() - begun
                print(took, peak(), max(client.run(peak).values()))
"""


def compare(cube: Path, model: Path, folder: Path) -> str:
    """A line for a round: seconds, and GB of the calling process and of the largest worker."""
    script = folder / "run.py"
    script.write_text(RUN)
    parts = []
    for how in ("store", "workers", "threads"):
        command = [sys.executable, str(script), how, str(cube), str(model), str(folder / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, own, worker = map(float, done.stdout.strip().rsplit("\n", 1)[-1].split())
        parts.append(f"{how} {seconds:.1f} s, {own:.2f} GB, worker {worker:.2f} GB")
    return "; ".join(parts)
