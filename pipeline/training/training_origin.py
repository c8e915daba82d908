"""What a checkpoint tells of its training: cubes, settings, what was held out, and its base."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from terralatent.models.observations import Observations
from terralatent.pipeline.training.cubes import TrainingCube
from terralatent.pipeline.training.extend import BaseModel
from terralatent.pipeline.training.holdout import Holdout
from terralatent.pipeline.training.state import TrainingState

__all__ = ["tell_origin"]


def tell_origin(
    sources: Sequence[TrainingCube],
    settings: dict[str, Any],
    looks: Sequence[dict[str, Observations]],
    holdouts: Sequence[Holdout],
    state: TrainingState,
    base: BaseModel | None,
    *,
    final: bool,
) -> dict[str, Any]:
    """What the checkpoint tells of its training, JSON values.

    Args:
        sources: The cubes.
        settings: Of the training.
        looks: For each cube, series by sensor, for their calendars.
        holdouts: For each cube, what was held out.
        state: Where the training stands.
        base: The model that it extends, if any; its hash and the sensors added are told.
        final: Whether the weights are those that the training ends with.
    """
    told: dict[str, Any] = {
        "cubes": [
            {
                "store": str(source.store),
                "snapshot": source.snapshot,
                "identity": source.identity,
                "held_out_days": {
                    name: look[name].days[held].tolist()
                    for name, held in holdout.acquisitions.items()
                },
            }
            for source, look, holdout in zip(sources, looks, holdouts, strict=True)
        ],
        "settings": settings,
        "finished": final,
        "step": state.best_step,
        "score": _finite(state.best_score),
        "start_score": _finite(state.start_score),
    }
    if base is not None:
        there = {name for source in sources for name in source.sensors}
        told["extends"] = {
            "model": base.folder,
            "hash": base.hash,
            "added": sorted(there - base.known),
        }
    return told


def _finite(score: float) -> float | None:
    """JSON has no word for a score that is not a number."""
    return score if math.isfinite(score) else None
