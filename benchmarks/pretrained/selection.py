"""Which training is kept: by what a pretrained model is for, on what is not reported."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pretrained.few_labels import few_label_accuracy
from benchmarks.pretrained.fit import model_of
from benchmarks.pretrained.recipe import OPTICAL_AND_RADAR, PLACES, Recipe
from benchmarks.pretrained.scores import mean_of, score_rotations
from benchmarks.pretrained.worlds import place_of, world_cube, world_place

__all__ = ["EVERY", "select"]

EVERY = 5
"""Only every so many-th pixel is scored."""


def select(work: Path, shared: Path, recipe: Recipe, jobs: int = 2) -> dict[str, Any]:
    """Compare the seeds of a recipe; computes.

    Each real place is predicted by the training that did not see it, on its development rotations,
    of which clear acquisitions count (partly clear ones have haze as truth, and are listed);
    climates kept aside by the training on all places. What counts is the mean share of the error of
    a GP in hindsight, less the mean accuracy of land cover from few labels.

    Args:
        work: Folder of worlds, models and cubes.
        shared: Folder of the real scenes.
        recipe: Whose trainings these are.
        jobs: Processes side by side.

    Returns:
        ``seed``, the best one, and the figures of all in ``seeds``.
    """
    for name in PLACES:  # cubes are built before processes share them
        place = place_of(work, shared, name, OPTICAL_AND_RADAR)
        place.rotations("development"), place.rotations("clear")
    for world in recipe.aside():
        world_place(work, world).rotations("development")
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        begun = {seed: pool.submit(_figures, work, shared, recipe, seed) for seed in recipe.trained}
        rows = {str(seed): figures.result() for seed, figures in begun.items()}
    return {"seed": int(min(rows, key=lambda seed: rows[seed]["score"])), "seeds": rows}


def _figures(work: Path, shared: Path, recipe: Recipe, seed: int) -> dict[str, Any]:
    """What one seed is worth; ``score`` is what counts, less is better."""
    row: dict[str, Any] = {}
    for name in PLACES:
        place = place_of(work, shared, name, OPTICAL_AND_RADAR)
        model = model_of(work, seed, name)
        row[name] = mean_of(score_rotations(place, "development", model, EVERY))
        row[name]["clear"] = mean_of(score_rotations(place, "clear", model, EVERY))
    for world in recipe.aside():
        model = model_of(work, seed, None)
        scored = score_rotations(world_place(work, world), "development", model, EVERY)
        row[world.climate] = mean_of(scored)
        row[world.climate]["few_labels"] = few_label_accuracy(
            work / "scenes" / str(world), world_cube(work, world), model
        )
    shares = [figures.get("clear", figures)["all"] for figures in row.values()]
    accuracies = [figures["few_labels"] for figures in row.values() if "few_labels" in figures]
    row["score"] = float(np.mean(shares) - np.mean(accuracies))
    return row
