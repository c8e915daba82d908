"""The surface of a simulated region, known at every day, beside what a model says of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gapfill.budget import train_within
from benchmarks.gapfill.cubes import cube_of, nearest_look, prepare, read_looks
from benchmarks.gapfill.holdouts import KINDS
from benchmarks.gapfill.predict import predict
from benchmarks.gapfill.runs import Run
from benchmarks.gapfill.scoring import Predicted, cells
from terralatent.pipeline.cli.demo_scores import open_truth
from terralatent.pipeline.dates import days_since_1970

__all__ = ["SIMULATED", "measure_surface", "prepare_region"]

SIMULATED = "simulated"
"""Stands where the name of a rotation would."""

EVERY = np.timedelta64(5, "D")
Z90 = 1.6448536269514722


def prepare_region(region: Path, work: Path) -> None:
    """Build the region's cube in a folder of its own, where it is not yet there."""
    prepare(region, work / SIMULATED)


def measure_surface(work: Path, run: Run, speed: Path) -> dict[str, Any]:
    """Train on all that the satellites saw, and compare the surface with the truth every five days.

    Nothing is hidden but by clouds. The intervals are those of ``std_signal``. Computes.

    Args:
        work: Folder of cubes and models.
        run: What.
        speed: Where the speed of the run is kept, if it has a budget.
    """
    cube = cube_of(work / SIMULATED)
    looks = read_looks(cube)
    told = train_within(cube, run.model(work), run, speed)
    daily = open_truth(run.region)["daily"].ds["reflectance"]
    days = daily["time"].to_numpy().astype("datetime64[D]")
    within = (days >= looks.times[0].astype("datetime64[D]")) & (days <= looks.times[-1])
    days = days[within][:: EVERY.astype(int)]
    truth = daily.sel(time=days, band=list(looks.bands)).transpose("y", "x", "time", "band")
    values = truth.to_numpy().reshape(-1, len(days), len(looks.bands))[looks.inside]
    # Sentinel-2 passes at noon.
    times = days.astype("datetime64[us]") + np.timedelta64(12, "h")
    begun = time.perf_counter()
    predicted, parameters = predict(cube, run.model(work), looks, times)
    told |= {"predicting": time.perf_counter() - begun, "parameters": parameters}
    signal = np.maximum(predicted.signal, 1e-10)
    reach = Z90 * np.sqrt(signal)
    surface = Predicted(
        predicted.mean,
        signal,
        np.zeros_like(signal),
        predicted.mean - reach,
        predicted.mean + reach,
    )
    every = np.ones(values.shape[:2], bool)
    nearest = nearest_look(looks, days_since_1970(times))
    kinds = np.zeros(len(days), int)
    return told | cells(surface, values, every, every, kinds, len(KINDS), nearest)
