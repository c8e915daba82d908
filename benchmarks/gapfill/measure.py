"""What a run measures: a method trained on one rotation's cube, and its scores there."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gapfill.budget import is_timed, probe, probe_file, train_within
from benchmarks.gapfill.cubes import (
    PixelObservations,
    cube_of,
    nearest_observation,
    read_observations,
)
from benchmarks.gapfill.hindsight import in_hindsight
from benchmarks.gapfill.holdouts import KINDS, Rotation
from benchmarks.gapfill.predict import one_series, predict
from benchmarks.gapfill.runs import HINDSIGHT, Run
from benchmarks.gapfill.scoring import Predicted, cells
from benchmarks.gapfill.simulated import SIMULATED, measure_surface

__all__ = ["code_digest", "find_speed", "measure", "score_hindsight", "score_rotation"]

PARTS = ("holdouts", "cubes", "scoring", "hindsight")
MORE_PARTS = ("runs", "measure", "budget", "predict", "simulated")
"""Modules beside this one on which scores depend: those of the reference, and of all others."""


def code_digest(method: str) -> str:
    """A hash of all code on which the scores of a method depend."""
    here = Path(__file__).resolve().parent
    parts = PARTS if method == HINDSIGHT else (*PARTS, *MORE_PARTS)
    files = [here / f"{name}.py" for name in parts]
    if method != HINDSIGHT:
        for package in ("models", "pipeline", "catalogs"):
            files += (here.parents[1] / package).rglob("*.py")
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def speed_file(work: Path, run: Run) -> Path:
    """Where the speed of a timed run is kept."""
    return probe_file(work, run, code_digest(run.method))


def find_speed(work: Path, run: Run) -> None:
    """Time a run that has a budget, unless its speed is known; does nothing for others."""
    if run.method == HINDSIGHT or not is_timed(run) or speed_file(work, run).exists():
        return
    cube = cube_of(work / SIMULATED) if run.region else cube_of(work, run.rotation)
    probe(cube, run.model(work).with_name("probe"), run, speed_file(work, run))


def measure(work: Path, run: Run, rotation: Rotation | None) -> dict[str, Any]:
    """Train, predict, score; computes.

    Args:
        work: Folder of cubes, models and scores.
        run: What.
        rotation: The one that the run names; None where it is a simulated region's.
    """
    if run.region:
        return measure_surface(work, run, speed_file(work, run))
    assert rotation is not None
    observations = read_observations(cube_of(work))
    if run.method == HINDSIGHT:
        return score_hindsight(observations, rotation)
    cube, model = cube_of(work, rotation.name), run.model(work)
    record = train_within(cube, model, run, speed_file(work, run))
    begun = time.perf_counter()
    predicted, parameters = predict(
        cube, model, observations, observations.times[list(rotation.scored)]
    )
    record |= {"predicting": time.perf_counter() - begun, "parameters": parameters}
    if run.series:
        record["series"] = one_series(cube, model, observations, rotation)
    return record | score_rotation(predicted, observations, rotation)


def score_hindsight(observations: PixelObservations, rotation: Rotation) -> dict[str, Any]:
    """Scores of the reference: all truth by settings chosen on it, clean truth by such on that."""
    begun = time.perf_counter()
    record, clean = (
        score_rotation(in_hindsight(observations, rotation, counted), observations, rotation)
        for counted in (observations.clear, observations.clean)
    )
    for name, sums in clean["sums"].items():
        record["sums"][name][1] = sums[1]
    record["central"][1] = clean["central"][1]
    return {"seconds": time.perf_counter() - begun, "parameters": 0, **record}


def score_rotation(
    predicted: Predicted, observations: PixelObservations, rotation: Rotation
) -> dict[str, Any]:
    """Sums of scores of what a rotation hides."""
    scored = list(rotation.scored)
    return cells(
        predicted,
        observations.values[:, scored],
        observations.clear[:, scored],
        observations.clean[:, scored],
        np.array([KINDS.index(kind) for kind in rotation.kinds]),
        len(KINDS),
        nearest_observation(observations, observations.days[scored], rotation.hidden),
    )
