"""Put a trained model where the package finds it, with its scores and its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pretrained.card import card
from benchmarks.pretrained.fit import model_of
from benchmarks.pretrained.recipe import PLACES, Recipe
from terralatent.models.checkpoint import load_model, model_hash, read_manifest, save_model
from terralatent.models.shipped import CARD

__all__ = ["SCORES", "SIBLINGS", "ship"]

SIBLINGS = Path(__file__).resolve().parent / "siblings"
"""Models of the same recipe without one real place, which the card scores there."""

DOCS = Path(__file__).resolve().parents[2] / "docs"
"""The card stands there too, as ``model-NAME.md``."""

SCORES = "scores.json"
"""The figures of the card, beside it."""

SETTINGS = ("steps", "seed", "batch", "rate", "drop_bands", "validate_every", "patience", "masking")
"""What of a training's settings is no matter of one machine's paths."""

KEPT = ("finished", "step", "score", "start_score", "values")


def ship(
    work: Path,
    into: Path,
    recipe: Recipe,
    scores: Mapping[str, Any],
    docs: Path = DOCS,
    siblings: Path = SIBLINGS,
) -> None:
    """Write weights, ``model.json``, scores and card of a recipe's model into a folder.

    The card goes into ``docs`` as well, and the models without a real place into ``siblings``.

    Raises:
        ValueError: If the scores are of another recipe or model.
    """
    folder = model_of(work, int(scores["seed"]), None)
    if (scores["recipe"], scores["model"]) != (recipe.digest(), model_hash(folder)):
        raise ValueError(
            f"{folder}: the scores are of recipe {scores['recipe'][:12]} and model "
            f"{scores['model'][:12]}, the recipe is {recipe.digest()[:12]}, the model "
            f"{model_hash(folder)[:12]}; run select and score again."
        )
    _save(folder, into, recipe, None)
    for name in PLACES:
        _save(model_of(work, int(scores["seed"]), name), siblings / name, recipe, name)
    (into / SCORES).write_text(json.dumps(scores, indent=1) + "\n")
    for page in (into / CARD, docs / f"model-{recipe.name}.md"):
        page.write_text(card(recipe, scores))


def _save(folder: Path, into: Path, recipe: Recipe, without: str | None) -> None:
    """Write a model with a record that names the recipe, and no path of where it was made."""
    training = read_manifest(folder)["training"]
    places = [PLACES[name] for name in PLACES if name != without]
    record = {
        **({"name": recipe.name, "version": recipe.version} if without is None else {}),
        "recipe": {"sha256": recipe.digest(), **recipe.to_json()},
        "cubes": [{"store": name} for name in (*map(str, recipe.worlds()), *places)],
        "settings": {name: training["settings"].get(name) for name in SETTINGS},
        **{name: training[name] for name in KEPT},
    }
    save_model(load_model(folder), into, record)
