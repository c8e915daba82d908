"""Training for a given wall time: as many steps as fit, by the speed of the first few."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from hashlib import sha256
from json import dumps, loads
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gapfill.runs import SENSOR_SETS, Run
from terralatent.models.families import DEFAULT, find_family
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.training.loop import LAST_STEPS
from terralatent.pipeline.training.train import train

__all__ = ["is_timed", "probe", "probe_file", "train_within"]

PROBE = 6
"""Steps by which a method's speed is told."""

VALIDATE_EVERY = 40

_compiled: set[tuple[str, str]] = set()
"""What this process has trained before."""


def is_timed(run: Run) -> bool:
    """Whether a run takes as many steps as its budget allows."""
    return find_family(run.method).trainable and run.steps is None and "steps" not in run.overrides


def probe_file(work: Path, run: Run, code: str) -> Path:
    """Where the speed of a run is kept; rotations and seeds make no difference to it.

    Args:
        work: Folder of all that is kept.
        run: A timed one.
        code: Digest of the code that it depends on.
    """
    told = dumps([dict(sorted(run.overrides.items())), run.region, code], default=str)
    name = f"{run.method}-{run.sensors}-{sha256(told.encode()).hexdigest()[:8]}"
    return work / "probes" / f"{name}.json"


def probe(cube: Path, aside: Path, run: Run, kept: Path) -> None:
    """Time the start and a few steps of a run and keep what they took; nothing else should run."""
    arguments = _arguments(cube, run)
    alike = (run.method, dumps(dict(sorted(run.overrides.items())), default=str))
    if alike not in _compiled:  # compilers are a process's, not a method's time
        _probe(cube, aside, arguments)
        _compiled.add(alike)
    told = _probe(cube, aside, arguments)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".partial")
    partial.write_text(dumps(told))
    partial.replace(kept)


def _arguments(cube: Path, run: Run) -> dict[str, Any]:
    """What ``train`` is given, but for the number of steps that a budget allows."""
    there = [name for name in open_cube(cube) if name != "items"]
    arguments = {
        "sensors": [name for name in there if name.startswith(SENSOR_SETS[run.sensors])],
        "seed": run.seed,
        "validate_every": VALIDATE_EVERY,
        **({} if run.method == DEFAULT else {"model": run.method}),
        **run.overrides,
    }
    if run.steps is not None:
        arguments.setdefault("steps", run.steps)
    return arguments


def train_within(cube: Path, out: Path, run: Run, kept: Path) -> dict[str, Any]:
    """Train within the budget; what it took.

    Args:
        cube: To learn from.
        out: Where the model goes; emptied.
        run: What is trained.
        kept: What :func:`probe` found out, if the run is a timed one.
    """
    arguments = _arguments(cube, run)
    told: dict[str, Any] = {}
    if is_timed(run):
        told["probe"] = found = loads(kept.read_text())
        step = found["step"] + found["validation"] / arguments["validate_every"]
        fits = max(0, int((run.budget - found["start"]) / step))
        # The last steps, on all acquisitions, are a part of the budget.
        arguments["steps"] = fits - min(LAST_STEPS, fits // 2)
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    report = train([cube], out, **arguments)
    return told | {
        "seconds": time.perf_counter() - begun,
        "steps": report.steps,
        "best_step": report.best_step,
        "score": report.score,
        "start_score": report.start_score,
    }


def _probe(cube: Path, out: Path, arguments: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of the start, of a step and of a validation, by training a few steps."""
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    train([cube], out, **{**arguments, "steps": PROBE})
    whole = time.perf_counter() - begun
    lines = (out / "training" / "log.jsonl").read_text().splitlines()
    # The first step compiles, the last one is validated.
    seconds = [loads(line).get("seconds", 0.0) for line in lines][1:]
    shutil.rmtree(out)
    step = float(np.median(seconds[1:-1]))
    return {
        "start": whole - sum(seconds),
        "step": step,
        "validation": max(0.0, seconds[-1] - step),
    }
