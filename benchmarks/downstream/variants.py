"""Variants of learning from labels, on development folds: what else could make it better.

    python -m benchmarks.downstream.variants [TABLES] --work DIR [--draws 2]

``shifted``: the days of a labelled pixel's observations are moved by up to a week either way, as if
spring came earlier or later. ``pairs``: beside the cross-entropy, pixels of the training cells are
recognised by the other half of their observations (InfoNCE between the means of two halves). Both
stand beside the same steps without either, and beside none. Overall accuracy / macro-F1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn

from benchmarks.downstream.canada import Crops, read_canada
from benchmarks.downstream.encoders import LABELS, latents_of
from benchmarks.downstream.probes import probe
from benchmarks.downstream.rows import ALL, WHITENED, draw_labels
from benchmarks.downstream.supervised import SEED, supervised_model
from benchmarks.downstream.whitening import rotate
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.pipeline.training.dropout import seeded
from terralatent.pipeline.training.labelled.head import HEAD, Head, months_of

DEVELOPMENT, FIRST_DRAW = 1, 100
SHIFT_DAYS = 7.0
SHIFT_KEY, HALVES_KEY = 112, 113
TEMPERATURE, PAIR_WEIGHT = 0.1, 0.1

Move = Callable[[dict[str, Observations]], dict[str, Observations]]


class Shifted(Head):
    """The head that sees every batch of labelled pixels some days earlier or later."""

    def loss(self, model: LatentModel, step: int, move: Move) -> Tensor:
        """As that of the head."""
        generator = seeded(self._seed, SHIFT_KEY, step)
        days = SHIFT_DAYS * (2.0 * float(torch.rand((), generator=generator)) - 1.0)

        def moved(seen: dict[str, Observations]) -> dict[str, Observations]:
            return move({name: replace(own, days=own.days + days) for name, own in seen.items()})

        return super().loss(model, step, moved)


class Pairs(Head):
    """The head, and pixels that are to be recognised by the other half of their observations."""

    def loss(self, model: LatentModel, step: int, move: Move) -> Tensor:
        """The cross-entropy of the labels, and that of the pixels among each other."""
        supervised = super().loss(model, step, move)
        part, rows = self._draw(step)
        own = self.pixels.parts[part].observations
        seen = {name: series.select(torch.from_numpy(rows)) for name, series in own.items()}
        generator = seeded(self._seed, HALVES_KEY, step)
        halves: tuple[dict[str, Observations], dict[str, Observations]] = ({}, {})
        for name, series in seen.items():
            drawn = torch.rand(series.observed.shape, generator=generator) < 0.5
            for half, hidden in zip(halves, (drawn, ~drawn), strict=True):
                half[name] = series.hide(hidden)
        days = {HEAD: months_of(own).to(model.device)}
        means = []
        for half in halves:
            q = model.marginals(move(half), days)
            flat = q.mean[:, q.places[HEAD]].flatten(1)
            means.append(nn.functional.normalize(flat - flat.mean(0), dim=1))
        alike = means[0] @ means[1].T / TEMPERATURE
        target = torch.arange(len(alike), device=alike.device)
        both = nn.functional.cross_entropy(alike, target)
        both = both + nn.functional.cross_entropy(alike.T, target)
        return supervised + 0.5 * PAIR_WEIGHT * both


VARIANTS: Mapping[str, tuple[float, type[Head]]] = {
    "control": (0.0, Head),
    "labels": (0.3, Head),
    "labels, shifted": (0.3, Shifted),
    "labels, pairs": (0.3, Pairs),
}


def main() -> int:
    """Train and print a line for each variant and number of labels."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "tables"
    parser.add_argument("tables", nargs="?", type=Path, default=default)
    parser.add_argument("--work", type=Path, required=True, help="folder kept over runs")
    parser.add_argument("--draws", type=int, default=2, help="of labels")
    options = parser.parse_args()
    crops = read_canada(options.tables / "canada-2017.parquet", seed=DEVELOPMENT)
    for budget in (50, ALL):
        for draw in range(1 if budget == ALL else options.draws):
            for name in VARIANTS:
                line = _scores(crops, options.work / "development", name, budget, draw)
                print(f"{name} | {budget or 'all'} labels | draw {draw} | {line}", flush=True)
    return 0


def _scores(crops: Crops, work: Path, name: str, budget: int, draw: int) -> str:
    """Accuracies of all kinds of features of a variant, whole series and half of them gone."""
    weight, head = VARIANTS[name]
    predicted = {(kind, label): np.zeros(len(crops.target), np.intp)
                 for kind in ("none", "50 %") for label in LABELS}  # fmt: skip
    for fold in crops.folds:
        labelled = draw_labels(crops, fold, budget, FIRST_DRAW + draw)
        model = supervised_model(crops, fold, labelled, work, weight=weight, head=head)
        for (kind, label), found in predicted.items():
            latents = latents_of(model, crops, kind, SEED + DEVELOPMENT)
            features = latents.features(label, fold.training)
            own = rotate(features, fold.training, standardised=label != WHITENED)
            learnt = probe(
                "lda", own, crops.target, crops.cells, labelled,
                np.setdiff1d(fold.training, labelled), fold.test, len(crops.classes),
            )  # fmt: skip
            found[fold.test] = learnt.probabilities.argmax(axis=1)
    return "; ".join(
        f"{label}, {kind} gone: {(found == crops.target).mean():.3f} / "
        f"{f1_score(crops.target, found, average='macro'):.3f}"
        for (kind, label), found in predicted.items()
    )


if __name__ == "__main__":
    sys.exit(main())
