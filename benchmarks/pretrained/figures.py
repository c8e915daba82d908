"""The figures of the card: the reported rotations of places that the weights never saw."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pretrained.few_labels import few_label_accuracy
from benchmarks.pretrained.fit import model_of
from benchmarks.pretrained.latents_used import lost_without
from benchmarks.pretrained.recipe import OPTICAL_AND_RADAR, PLACES, SENSORS, Recipe, WorldName
from benchmarks.pretrained.scores import COUNTS, Scored, mean_of, score_rotations
from benchmarks.pretrained.worlds import Place, place_of, world_cube, world_place
from terralatent.models.checkpoint import model_hash
from terralatent.pipeline.training.adapting.calibrate import calibrate_model
from terralatent.pipeline.training.train import train

__all__ = ["before_reported", "figures"]

LANDSAT = "landsat-c2-l2"

TUNED_STEPS = 240
"""Of a training that begins from the weights: less than a third of the 800 of one from nothing."""


def figures(
    work: Path, shared: Path, recipe: Recipe, chosen: Mapping[str, Any], jobs: int = 2
) -> dict[str, Any]:
    """Score the chosen training and its siblings without a place; computes, for half an hour.

    Args:
        work: Folder of worlds, models and cubes.
        shared: Folder of the real scenes.
        recipe: Whose trainings these are.
        chosen: See :func:`benchmarks.pretrained.selection.select`.
        jobs: Processes side by side.
    """
    seed = int(chosen["seed"])
    whole = model_of(work, seed, None)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        begun = [pool.submit(_score_place, work, shared, seed, name) for name in PLACES]
        begun += [pool.submit(_score_world, work, whole, world) for world in recipe.aside()]
        done = [future.result() for future in begun]
    places = {name: found for name, (found, _) in zip(PLACES, done, strict=False)}
    worlds = [found for found, _ in done[len(PLACES) :]]
    climates = [world.climate for world in recipe.aside()]
    aside = [world_cube(work, world) for world in recipe.aside()]
    return {
        **before_reported(work, recipe, chosen),
        "places": places,
        "climates": {c: found["gaps"] for c, found in zip(climates, worlds, strict=True)},
        "few_labels": {c: found["labels"] for c, found in zip(climates, worlds, strict=True)},
        "by_count": _by_count([row for _, rows in done for row in rows]),
        "latents": [round(lost, 4) for lost in lost_without(whole, aside)],
    }


def before_reported(work: Path, recipe: Recipe, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a chosen training while no reported rotation is scored. Reads no pixels."""
    seed = int(chosen["seed"])
    return {
        "recipe": recipe.digest(),
        "model": model_hash(model_of(work, seed, None)),
        "siblings": {name: model_hash(model_of(work, seed, name)) for name in PLACES},
        "seed": seed,
        "development": chosen["seeds"][str(seed)],
    }


def _score_place(
    work: Path, shared: Path, seed: int, name: str
) -> tuple[dict[str, Any], list[Scored]]:
    """A real place by the model that did not see it, in all ways; and its rows as it is."""
    model = model_of(work, seed, name)
    kept = work / "scores" / f"{name}-{model_hash(model)[:12]}.json"
    if kept.exists():
        return tuple(json.loads(kept.read_text()))
    found: dict[str, Any] = {}
    both = place_of(work, shared, name, OPTICAL_AND_RADAR)
    rows = score_rotations(both, "reported", model)
    found["radar"] = mean_of(rows)
    found["radar_calibrated"] = mean_of(score_rotations(both, "reported", _calibrated(both, model)))
    alone = place_of(work, shared, name, OPTICAL_AND_RADAR[:1])
    found["alone"] = mean_of(score_rotations(alone, "reported", model))
    everything = both
    if (shared / PLACES[name] / LANDSAT).exists():
        everything = place_of(work, shared, name, SENSORS)
        found["all_sensors"] = mean_of(score_rotations(everything, "reported", model))
    found["tuned"] = mean_of(score_rotations(everything, "reported", _tuned(everything, model)))
    print(f"{name}: {found}", flush=True)
    _keep(kept, found, rows)
    return found, rows


def _score_world(work: Path, model: Path, world: WorldName) -> tuple[dict[str, Any], list[Scored]]:
    """A climate kept aside: gap filling, and land cover beside a model trained there."""
    place, cube = world_place(work, world), world_cube(work, world)
    kept = work / "scores" / f"{world}-{model_hash(model)[:12]}.json"
    if kept.exists():
        return tuple(json.loads(kept.read_text()))
    rows = score_rotations(place, "development", model)
    there = work / "models" / f"there-{world}"
    train([cube], there)
    labels = {
        "pretrained": few_label_accuracy(place.catalogue, cube, model),
        "trained_there": few_label_accuracy(place.catalogue, cube, there),
    }
    found = {"gaps": mean_of(rows), "labels": labels}
    print(f"{world}: {found}", flush=True)
    _keep(kept, found, rows)
    return found, rows


def _keep(file: Path, found: dict[str, Any], rows: list[Scored]) -> None:
    """Keep what was scored, so that scoring goes on where it stood."""
    file.parent.mkdir(exist_ok=True)
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps([found, rows]))
    aside.replace(file)


def _calibrated(place: Place, model: Path) -> dict[str, Path]:
    """The model calibrated to the cube of each reported rotation, which lacks what it hides."""
    _, rotations = place.rotations("reported")
    made = {}
    for rotation in rotations:
        out = place.work / "calibrated" / f"{rotation.name}-{model_hash(model)[:12]}"
        calibrate_model(place.cube(rotation), model, out)
        made[rotation.name] = out
    return made


def _tuned(place: Place, model: Path) -> dict[str, Path]:
    """The model trained further on the cube of each reported rotation."""
    _, rotations = place.rotations("reported")
    made = {}
    for rotation in rotations:
        out = place.work / "tuned" / f"{rotation.name}-{model_hash(model)[:12]}"
        if not (out / "model.json").exists():
            shutil.rmtree(out, ignore_errors=True)
        train([place.cube(rotation)], out, pretrained=model, steps=TUNED_STEPS)
        made[rotation.name] = out
    return made


def _by_count(rows: Sequence[Scored]) -> list[dict[str, Any]]:
    """Error and coverage by how often a year a pixel is seen clear, all places together."""
    edges = [0, *COUNTS, None]
    listed = []
    for place, (low, high) in enumerate(pairwise(edges)):
        n, square, held = (
            sum(row["by_count"][name][place] for row in rows) for name in ("n", "square", "in90")
        )
        if n:
            rmse, covers = float(np.sqrt(square / n)), held / n
            listed.append({"from": low, "below": high, "rmse": rmse, "covers": covers})
    return listed
