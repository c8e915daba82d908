"""Runs, several at a time: each in a process with one thread, its scores in a file of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gapfill.holdouts import Rotation
from benchmarks.gapfill.measure import code_digest, find_speed, measure
from benchmarks.gapfill.runs import HINDSIGHT, Run
from benchmarks.gapfill.scoring import MEASURES

__all__ = ["read_run", "run_all"]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def run_all(
    work: Path,
    runs: Sequence[Run],
    rotations: Sequence[Rotation],
    *,
    jobs: int = 1,
    keep: bool = False,
) -> bool:
    """Do the runs whose scores are not there, one line for each; False where one failed.

    Args:
        work: Folder with the cubes; the scores are written to ``runs`` in it.
        runs: In this order.
        rotations: Those that the runs name; a run on a simulated region has none.
        jobs: Processes.
        keep: Whether scores that other code gave are there, too.
    """
    by_name = {rotation.name: rotation for rotation in rotations}
    wanted = [run for run in runs if not _is_there(work, run, keep)]
    os.environ.update(dict.fromkeys(THREADS, "1"))
    good = True
    # Workers live on, so that only a worker's first run waits for compilers.
    context = multiprocessing.get_context("spawn")
    # Speeds are told one at a time, while nothing else runs.
    with ProcessPoolExecutor(1, mp_context=context, initializer=_begin) as pool:
        for future in [pool.submit(find_speed, work, run) for run in wanted]:
            future.result()
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin) as pool:
        asked = {pool.submit(_do, work, run, by_name.get(run.rotation)): run for run in wanted}
        for count, future in enumerate(as_completed(asked), 1):
            run, told = asked[future], future.result()
            good &= "error" not in told
            print(f"[{count}/{len(wanted)}] {_brief(run, told)}", flush=True)
    return good


def read_run(work: Path, run: Run) -> dict[str, Any] | None:
    """The scores of a run; None where they are not there."""
    file = run.file(work)
    if not file.exists():
        return None
    told: dict[str, Any] = json.loads(file.read_text())
    return told


def _begin() -> None:
    """Begin a worker: one thread, and the digests of the code that it has just read."""
    import torch

    torch.set_num_threads(1)
    for reference in (True, False):
        _digest_of(reference)


def _is_there(work: Path, run: Run, keep: bool) -> bool:
    told = read_run(work, run)
    if told is None or "error" in told or (run.series and "series" not in told):
        return False
    return keep or told["code"] == _digest(run.method)


def _digest(method: str) -> str:
    return _digest_of(method == HINDSIGHT)


@lru_cache
def _digest_of(reference: bool) -> str:
    """Of the code as it was when this process began: a worker goes on with what it has read, also
    where files change under it."""
    return code_digest(HINDSIGHT if reference else "")


def _do(work: Path, run: Run, rotation: Rotation | None) -> dict[str, Any]:
    """One run, in a worker; its scores, which are also written."""
    try:
        told = measure(work, run, rotation)
    except Exception as error:
        told = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    told = {
        "run": {**asdict(run), "overrides": dict(run.overrides)},
        "code": _digest(run.method),
        **told,
    }
    file = run.file(work)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(told, default=str))
    partial.replace(file)
    return told


def _brief(run: Run, told: Mapping[str, Any]) -> str:
    what = f"{run.rotation} {run.method} {run.sensors} seed {run.seed}"
    if run.overrides:
        what += f" {dict(run.overrides)}"
    if "error" in told:
        return f"{what}: FAILED, {told['error']}"
    sums = dict(zip(MEASURES, (np.sum(told["sums"][name][0]) for name in MEASURES), strict=True))
    line = f"{what}: RMSE {np.sqrt(sums['square'] / sums['n']):.4f}"
    line += f", 90 % covers {100 * sums['in90'] / sums['n']:.1f} %"
    line += f", CRPS {sums['crps'] / sums['n']:.4f}, {told['seconds']:.0f} s"
    return line + (f", {told['steps']} steps (best {told['best_step']})" if "steps" in told else "")
