"""Encoders that learn from the labels of a budget too: further steps from those without labels.

For each fold, number of labels and draw the model of the fold goes on from its best weights, as
``train --column`` does in the end; test cells give it no pixel and no label. Its control takes the
same steps with weight 0.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.downstream.canada import Crops, Fold
from benchmarks.downstream.encoders import ENCODERS, LABELS, STEPS, Latents, latents_of, trained
from benchmarks.downstream.rows import ALL, Row, draw_labels, run_rows
from terralatent.models.config import ModelConfig
from terralatent.models.families import DEFAULT, make_model
from terralatent.models.latent_model import LatentModel
from terralatent.pipeline.device import find_device, make_fabric
from terralatent.pipeline.tables.series import Series
from terralatent.pipeline.training.cubes import open_training_cubes
from terralatent.pipeline.training.labelled.head import Head
from terralatent.pipeline.training.labelled.pixels import read_labelled
from terralatent.pipeline.training.labelled.request import Supervision
from terralatent.pipeline.training.loop import Schedule, fit_all
from terralatent.pipeline.training.sampler import PixelSampler
from terralatent.pipeline.training.state import TrainingFolder

__all__ = ["SUPERVISED", "supervised_model", "supervised_rows"]

BATCH, SEED = 64, 0
WEIGHTS = {"with labels": 0.3, "control": 0.0}
SUPERVISED = tuple(f"gpvae {kind}, {label}" for kind in WEIGHTS for label in LABELS)
BUDGETS = (50, ALL, 10)
KINDS = ("none", "50 %", "3 months")


def supervised_rows(crops: Crops, work: Path, draws: int, seed: int, first: int = 0) -> None:
    """Compute the rows of encoders with labels, and of their control, that are not there."""

    def make(row: Row, fold: Fold) -> NDArray[np.float64]:
        kind = next(name for name in WEIGHTS if f"gpvae {name}," in row.features)
        found = _embedded(crops, fold, row, kind, work, seed)
        return found.features(row.features.partition(", ")[2], fold.training)

    rows = (
        Row(name, kind, budget, "lda", first + draw)
        for draw in range(draws)
        for budget in BUDGETS
        if budget != ALL or not draw
        for kind in KINDS
        for name in SUPERVISED
    )
    run_rows(
        rows, crops, make, work, depends=lambda row: (row.features, row.missing, row.labels,
                                                      row.draw)
    )  # fmt: skip


def _embedded(crops: Crops, fold: Fold, row: Row, kind: str, work: Path, seed: int) -> Latents:
    """Latents of a fold's encoder with labels, from the work folder if there."""
    # What it learns without labels does not depend on which there are.
    name = f"{kind}-{row.labels}-{row.draw}" if WEIGHTS[kind] else kind
    folder = work / "latents" / f"gpvae-{name.replace(' ', '-')}-fold{fold.number}"
    file = folder / f"{row.missing.replace(' ', '-')}.npz"
    if not file.exists():
        labelled = draw_labels(crops, fold, row.labels, row.draw)
        model = supervised_model(crops, fold, labelled, work, weight=WEIGHTS[kind])
        folder.mkdir(parents=True, exist_ok=True)
        for missing in KINDS:
            own = latents_of(model, crops, missing, seed)
            aside = folder / "new.npz"
            np.savez(aside, mean=own.mean, std=own.std)
            aside.replace(folder / f"{missing.replace(' ', '-')}.npz")
    with np.load(file) as stored:
        return Latents(stored["mean"], stored["std"])


def supervised_model(
    crops: Crops, fold: Fold, labelled: NDArray[np.intp], work: Path, *, weight: float,
    steps: int = Supervision.steps, head: type[Head] = Head,
) -> LatentModel:  # fmt: skip
    """Go on from a fold's model with the labels of some of its training pixels. Computes.

    ``head`` is what the labels count through, such as a variant of that of the package.
    """
    folder = trained(ENCODERS[DEFAULT], crops, fold, work, None)
    state = TrainingFolder(folder).load()
    assert state is not None
    model = make_model(ModelConfig.model_validate(state.config), seed=SEED)
    sources = open_training_cubes(_labelled(crops, fold, labelled), seed=SEED)
    request = Supervision("budget", weight=weight, steps=steps)
    pixels = read_labelled(sources, request, SEED)
    own = head(pixels, request, latents=model.config.latents, seed=SEED, batch=BATCH, hide=True)
    final = fit_all(
        model,
        PixelSampler(sources, seed=SEED, batch=BATCH),
        Schedule(STEPS, 40, 6),
        state,
        fabric=make_fabric(*find_device("cpu")),
        head=own,
    )
    model.load_state_dict(final)
    return model.eval()


def _labelled(crops: Crops, fold: Fold, labelled: NDArray[np.intp]) -> Series:
    """The pixels of the training cells, with the classes of the labelled ones alone."""
    series = crops.series.select(fold.training)
    known = np.isin(fold.training, labelled)
    names = [
        crops.classes[place] if own else None
        for place, own in zip(crops.target[fold.training], known, strict=True)
    ]
    pixels = series.pixels.drop_columns(["label"])
    return replace(series, pixels=pixels.append_column("budget", pa.array(names, pa.string())))
