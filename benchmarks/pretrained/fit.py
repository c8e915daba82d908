"""Trainings of a recipe: on all places, or on all but one."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pretrained.recipe import PLACES, Recipe
from benchmarks.pretrained.worlds import real_cube, world_cube
from terralatent.pipeline.training.train import TrainReport, train

__all__ = ["fit", "model_of"]

VALIDATIONS = 20
"""How often a training is validated."""


def model_of(work: Path, seed: int, without: str | None) -> Path:
    """Where the model of a training lies."""
    return work / "models" / f"{'all' if without is None else f'without-{without}'}-{seed}"


def fit(
    work: Path, shared: Path, recipe: Recipe, seed: int, without: str | None = None
) -> TrainReport:
    """Train on the worlds of a recipe and its real places; computes, and goes on where it stood.

    Args:
        work: Folder of worlds and models.
        shared: Folder of the real scenes.
        recipe: What is trained, and how.
        seed: Of the training.
        without: A real place that it does not see.
    """
    worlds = [world_cube(work, world) for world in recipe.worlds()]
    places = [real_cube(work, shared, name) for name in PLACES if name != without]
    share = recipe.real_share / len(PLACES)  # what one place lacks the worlds get
    world_share = (1.0 - share * len(places)) / len(worlds)
    return train(
        [*worlds, *places],
        model_of(work, seed, without),
        steps=recipe.steps,
        seed=seed,
        batch=recipe.batch,
        rate=recipe.rate,
        validate_every=recipe.steps // VALIDATIONS,
        patience=VALIDATIONS,
        drop_bands=True,
        widths=recipe.widths,
        balance=[world_share] * len(worlds) + [share] * len(places),
        **recipe.choices,
    )
