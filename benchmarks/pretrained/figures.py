"""The figures of the card: the reported rotations of places that the weights never saw."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pretrained.few_labels import few_label_accuracy
from benchmarks.pretrained.fit import model_of
from benchmarks.pretrained.latents_used import lost_without
from benchmarks.pretrained.recipe import OPTICAL_AND_RADAR, PLACES, SENSORS, Recipe
from benchmarks.pretrained.scores import COUNTS, Scored, mean_of, score_rotations
from benchmarks.pretrained.worlds import Place, place_of, world_cube, world_place
from terralatent.models.checkpoint import model_hash
from terralatent.pipeline.training.calibrate import calibrate_model
from terralatent.pipeline.training.train import train

__all__ = ["figures"]

TUNED_STEPS = 240
"""Of a training that begins from the weights: less than a third of the 800 of one from nothing."""


def figures(work: Path, shared: Path, recipe: Recipe, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Score the chosen training and its siblings without a place; computes, for half an hour."""
    seed = int(chosen["seed"])
    whole = model_of(work, seed, None)
    rows: list[Scored] = []
    places = {}
    for name in PLACES:
        model = model_of(work, seed, name)
        places[name] = {"model": model_hash(model)}
        for kind, sensors in (("radar", OPTICAL_AND_RADAR), ("alone", OPTICAL_AND_RADAR[:1])):
            place = place_of(work, shared, name, sensors)
            as_it_is = score_rotations(place, "reported", model)
            rows += as_it_is if kind == "radar" else []
            places[name][kind] = mean_of(as_it_is)
            places[name][f"{kind}_calibrated"] = mean_of(
                score_rotations(place, "reported", _calibrated(place, model))
            )
        everything = place_of(work, shared, name, SENSORS)
        places[name]["all_sensors"] = mean_of(score_rotations(everything, "reported", model))
        places[name]["tuned"] = mean_of(
            score_rotations(everything, "reported", _tuned(everything, model))
        )
        print(f"{name}: {places[name]}", flush=True)
    climates, labels = {}, {}
    for world in recipe.aside():
        place = world_place(work, world)
        scored = score_rotations(place, "development", whole)
        rows += scored
        climates[world.climate] = mean_of(scored)
        cube, there = world_cube(work, world), work / "models" / f"there-{world}"
        train([cube], there)
        labels[world.climate] = {
            "pretrained": few_label_accuracy(place.catalogue, cube, whole),
            "trained_there": few_label_accuracy(place.catalogue, cube, there),
        }
        print(f"{world}: {climates[world.climate]} {labels[world.climate]}", flush=True)
    aside = [world_cube(work, world) for world in recipe.aside()]
    return {
        "recipe": recipe.digest(),
        "model": model_hash(whole),
        "seed": seed,
        "development": chosen["seeds"][str(seed)],
        "places": places,
        "climates": climates,
        "few_labels": labels,
        "by_count": _by_count(rows),
        "latents": [round(lost, 4) for lost in lost_without(whole, aside)],
    }


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
