"""What a model is worth at a place: gap filling as a share of a GP in hindsight, and coverage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gapfill.cubes import PixelObservations
from benchmarks.gapfill.hindsight import in_hindsight
from benchmarks.gapfill.holdouts import Rotation
from benchmarks.gapfill.predict import predict
from benchmarks.gapfill.scoring import Predicted, value_scores
from benchmarks.pretrained.worlds import Place

__all__ = ["COUNTS", "Scored", "mean_of", "score_rotation", "score_rotations"]

TRUTHS = ("all", "clean")
COUNTS = (15, 30, 60)
"""Clear observations of a pixel, a year, between which scores are listed."""

Scored = Mapping[str, Any]
"""Figures of one rotation: see :func:`score_rotation`."""


def score_rotations(
    place: Place, kind: str, models: Mapping[str, Path] | Path, every: int = 1
) -> list[Scored]:
    """Score a model, or one for each rotation by its name, on the rotations of a place; computes.

    Args:
        place: Real or simulated.
        kind: ``development``, ``clear`` or ``reported``.
        models: Folders.
        every: Only every so many-th pixel counts.
    """
    observations, rotations = place.rotations(kind)
    return [
        score_rotation(
            place,
            observations,
            rotation,
            models if isinstance(models, Path) else models[rotation.name],
            every,
        )
        for rotation in rotations
    ]


def score_rotation(
    place: Place,
    observations: PixelObservations,
    rotation: Rotation,
    model: Path,
    every: int = 1,
) -> Scored:
    """Score a model on one rotation; computes.

    Returns:
        For ``all`` and ``clean`` truth: ``rmse`` and ``hindsight``, in reflectance, and ``ratio``
        of the two; of all truth ``covers``, the share within 90 % intervals, ``nll`` in nats a
        value, and ``by_count``, the values, summed squares and values in their interval of pixels
        by how often a year they are seen clear.
    """
    reference = _reference(place, observations, rotation)
    some = _every(observations, every)
    scored = list(rotation.scored)
    predicted, _ = predict(place.cube(rotation), model, some, some.times[scored])
    figures: dict[str, Any] = {"rotation": rotation.name}
    for truth, counted in zip(TRUTHS, (some.clear, some.clean), strict=True):
        pixel, time = np.nonzero(counted[:, scored])
        values = value_scores(predicted, some.values[:, scored], pixel, time)
        rmse = float(np.sqrt(values["square"].mean()))
        figures[truth] = {
            "rmse": rmse,
            "hindsight": reference[truth],
            "ratio": rmse / reference[truth],
        }
        if truth == TRUTHS[0]:
            figures |= {"covers": values["in90"].mean(), "nll": values["nll"].mean()}
            figures["by_count"] = _by_count(some, rotation, pixel, values)
    return json.loads(json.dumps(figures, default=float))


def mean_of(rows: Sequence[Scored]) -> dict[str, Any]:
    """Means over rotations of shares, coverage and density, and each rotation's."""
    return {
        "all": float(np.mean([row["all"]["ratio"] for row in rows])),
        "clean": float(np.mean([row["clean"]["ratio"] for row in rows])),
        "covers": float(np.mean([row["covers"] for row in rows])),
        "nll": float(np.mean([row["nll"] for row in rows])),
        "each_rmse": [round(row["all"]["rmse"], 6) for row in rows],
        "each_all": [round(row["all"]["ratio"], 4) for row in rows],
        "each_covers": [round(row["covers"], 4) for row in rows],
    }


def _reference(
    place: Place, observations: PixelObservations, rotation: Rotation
) -> dict[str, float]:
    """Errors of the GP in hindsight, which does not depend on the model; kept beside the cubes."""
    file = place.references / f"hindsight-{rotation.name}.json"
    if file.exists():
        kept = json.loads(file.read_text())
        if kept["hidden"] == list(rotation.hidden):
            return kept
    scored = list(rotation.scored)
    errors: dict[str, Any] = {"hidden": list(rotation.hidden)}
    for truth, counted in zip(TRUTHS, (observations.clear, observations.clean), strict=True):
        predicted: Predicted = in_hindsight(observations, rotation, counted)
        away = predicted.mean - observations.values[:, scored]
        errors[truth] = float(np.sqrt(np.square(away[counted[:, scored]]).mean()))
    file.write_text(json.dumps(errors))
    return errors


def _by_count(
    observations: PixelObservations,
    rotation: Rotation,
    pixel: NDArray[np.integer],
    values: Mapping[str, NDArray[np.floating]],
) -> dict[str, list[float]]:
    seen = observations.clear.copy()
    seen[:, list(rotation.hidden)] = False
    years = float(np.ptp(observations.days)) / 365.25
    group = np.digitize(seen.sum(1) / years, COUNTS)[pixel]

    def summed(scores: NDArray[np.floating]) -> list[float]:
        return np.bincount(group, scores.sum(1), len(COUNTS) + 1).tolist()

    return {
        "n": summed(np.ones_like(values["square"])),
        "square": summed(values["square"]),
        "in90": summed(values["in90"]),
    }


def _every(observations: PixelObservations, every: int) -> PixelObservations:
    """Every so many-th pixel inside the scenes."""
    kept = np.arange(len(observations.values)) % every == 0
    inside = observations.inside.copy()
    inside[np.flatnonzero(observations.inside)[~kept]] = False
    return replace(
        observations,
        values=observations.values[kept],
        clear=observations.clear[kept],
        clean=observations.clean[kept],
        inside=inside,
        others=tuple((days, clear[kept]) for days, clear in observations.others),
    )
