"""Training for a given wall time: as many steps as fit, by the speed of the first few."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from hashlib import sha256
from json import dumps, loads
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from terralatent.models.families import find_family
from terralatent.pipeline.cube import open_cube
from terralatent.pipeline.train import train

if TYPE_CHECKING:
    from runs import Run

__all__ = ["SENSOR_SETS", "train_within"]

SENSOR_SETS: Mapping[str, tuple[str, ...]] = {
    "S2": ("sentinel-2",),
    "+S1": ("sentinel-2", "sentinel-1"),
    "+L8": ("sentinel-2", "sentinel-1", "landsat"),
}
"""Beginnings of the names of the sensors of each set."""

PROBE = 6
"""Steps by which a method's speed is told."""

VALIDATE_EVERY = 40


def probe_name(run: Run) -> str:
    """The name of what tells the speed of a run."""
    told = dumps(dict(sorted(run.overrides.items())), default=str)
    where = "region" if run.region else "scenes"
    return f"{run.method}-{run.sensors}-{where}-{sha256(told.encode()).hexdigest()[:8]}"


def train_within(work: Path, cube: Path, out: Path, run: Run) -> dict[str, Any]:
    """Train within the budget; what it took."""
    there = [name for name in open_cube(cube) if name != "items"]
    sensors = [name for name in there if name.startswith(SENSOR_SETS[run.sensors])]
    arguments = {
        "sensors": sensors,
        "seed": run.seed,
        "validate_every": VALIDATE_EVERY,
        **({} if run.method == "gpvae" else {"model": run.method}),
        **run.overrides,
    }
    if run.steps is not None:
        arguments.setdefault("steps", run.steps)
    told: dict[str, Any] = {}
    if find_family(run.method).trainable and "steps" not in arguments:
        # Rotations and seeds make no difference to the speed: one probe does for all of them.
        kept = work / "probes" / f"{probe_name(run)}.json"
        if not kept.exists():
            aside = out.with_name(out.name + "-probe")
            _probe(cube, aside, arguments)  # compilers are a process's, not a method's time
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(dumps(_probe(cube, aside, arguments)))
        told["probe"] = probe = loads(kept.read_text())
        step = probe["step"] + probe["validation"] / arguments["validate_every"]
        arguments["steps"] = max(0, int((run.budget - probe["start"]) / step))
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
