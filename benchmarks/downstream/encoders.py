"""Encoders that are trained on pixels of training cells without labels, and what they say of all.

A model is trained once for each fold, on the whole series of the training cells; what is missing
is taken from the series that are then embedded. Models and latents are kept in the work folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.downstream.canada import Crops, Fold
from benchmarks.downstream.missing import hide
from benchmarks.downstream.raw import whitened
from benchmarks.downstream.rows import WHITENED
from terralatent.models.config import MANIFEST
from terralatent.models.families import DEFAULT, LEARNED
from terralatent.models.latent_model import LatentModel
from terralatent.models.shipped import DEFAULT as SHIPPED
from terralatent.pipeline import features, train

__all__ = [
    "ENCODERS",
    "LABELS",
    "STEPS",
    "Encoder",
    "Latents",
    "embedded",
    "kept_arrays",
    "latents_of",
    "trained",
]

STEPS = 160
"""Of every family; the best of their validations is kept."""

WITH_STD = "means and std"
LABELS = ("means", WHITENED, WITH_STD)
"""Kinds of features that are made of latents."""

TUNING_STEPS = 80
"""Of the model that comes with the package, trained further on the training cells."""


@dataclass(frozen=True)
class Encoder:
    """A model of the comparison."""

    name: str
    family: str | None = DEFAULT
    """None for one that comes with the package, as it is."""

    steps: int = STEPS

    pretrained: str | None = None
    """What it is trained further from."""


ENCODERS = {
    own.name: own
    for own in (
        Encoder("gpvae-start", steps=0),
        Encoder("gpvae"),
        Encoder(SHIPPED, None, 0),
        Encoder(f"{SHIPPED}-tuned", steps=TUNING_STEPS, pretrained=SHIPPED),
        *(Encoder(family, family) for family in LEARNED if family != DEFAULT),
    )
}


@dataclass(frozen=True, eq=False)
class Latents:
    """Of N pixels at the first of each month, (N, month, latent), float32."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    def features(
        self, label: str, training: NDArray[np.intp], known: int | None = None
    ) -> NDArray[np.float64]:
        """Features of a kind, one row a pixel, (N, F).

        Args:
            label: One of :data:`LABELS`. Whitened means are those of a month on the axes of all
                months of the training pixels.
            training: Places of pixels.
            known: Months from the first that features are made of; all by default.
        """
        mean, std = self.mean[:, :known].astype(np.float64), self.std[:, :known]
        if label == WHITENED:
            mean = whitened(mean, training, parts=())
        arrays = [mean, std] if label == WITH_STD else [mean]
        return np.concatenate([own.reshape(len(own), -1) for own in arrays], axis=1)


def trained(encoder: Encoder, crops: Crops, fold: Fold, work: Path, steps: int | None) -> str:
    """Train a model on the training cells of a fold, unless it is there. Computes.

    Returns:
        Its folder, or the name of one that comes with the package.
    """
    if encoder.family is None:
        return encoder.name
    out = work / "models" / f"{encoder.name}-fold{fold.number}"
    if not (out / MANIFEST).exists():  # `train` would find it too, but reads all series for that
        train(
            crops.series.select(fold.training),
            out,
            model=None if encoder.pretrained else encoder.family,
            pretrained=encoder.pretrained,
            steps=encoder.steps if steps is None else min(steps, encoder.steps),
            calibrated=False,
            device="cpu",
        )
    return str(out)


def embedded(
    encoder: Encoder, crops: Crops, fold: Fold, kind: str, work: Path, *, seed: int,
    steps: int | None = None,
) -> Latents:  # fmt: skip
    """Latents of all pixels without what is missing, from the work folder if there. Computes.

    Args:
        encoder: Which model.
        crops: The pixels.
        fold: Whose training cells the model saw.
        kind: What is missing, see :mod:`benchmarks.downstream.missing`.
        work: Where models and latents are kept.
        seed: Of what is missing.
        steps: Of training at most, for a quick run.
    """
    number = "" if encoder.family is None else f"-fold{fold.number}"
    file = work / "latents" / f"{encoder.name}{number}-{kind.replace(' ', '-')}.npz"

    def make() -> Mapping[str, NDArray[Any]]:
        found = latents_of(trained(encoder, crops, fold, work, steps), crops, kind, seed)
        return {"mean": found.mean, "std": found.std}

    return Latents(**kept_arrays(file, make))


def kept_arrays(
    file: Path, make: Callable[[], Mapping[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """Read arrays from a ``.npz`` file; where there is none, they are made and kept first."""
    if not file.exists():
        found = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(".new.npz")
        np.savez(aside, **found)
        aside.replace(file)
    with np.load(file) as stored:
        return dict(stored)


def latents_of(model: str | LatentModel, crops: Crops, kind: str, seed: int) -> Latents:
    """Latents of all pixels by a model, without what is missing. Computes."""
    hidden = hide(kind, len(crops.target), len(crops.dates), seed=seed)
    series = crops.hidden(hidden)
    found = features(model, series, list(crops.dates), parts=("mean", "std"), device="cpu")
    shape = (len(crops.target), 2, len(crops.dates), -1)
    both = found.values.reshape(shape)
    return Latents(both[:, 0], both[:, 1])
