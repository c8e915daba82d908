"""Rows of figures: a feature set, what is missing, a number of labels, a probe and a draw.

Each is kept as JSON in the work folder once all folds are done, and not computed again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.downstream.canada import Fold
from benchmarks.downstream.probes import probe
from benchmarks.downstream.whitening import Rotated, rotate

__all__ = [
    "ALL",
    "WHITENED",
    "Labelled",
    "Row",
    "RowResult",
    "draw_labels",
    "read_row",
    "run_rows",
    "write_row",
]

WHITENED = "means, whitened"
"""Features of latents that keep their scale: axes that hardly vary are noise, which standardised
would be as large as the others. Chosen on development folds, where whitened bands do better
standardised."""

ALL = 0
"""Labels of a class, where all of them are taken."""

STEPS_OF_CONFIDENCE = 255


class Labelled(Protocol):
    """What rows are measured on: N labelled pixels or polygons, and which of them are hidden."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""

    @property
    def target(self) -> NDArray[np.intp]:
        """Place of the class, (N,)."""

    @property
    def cells(self) -> NDArray[np.intp]:
        """Those of one number are hidden together, (N,)."""

    @property
    def folds(self) -> tuple[Fold, ...]:
        """Each is hidden once."""


@dataclass(frozen=True)
class Row:
    """What is measured."""

    features: str
    missing: str = "none"
    labels: int = ALL
    """Of each class; fewer where the training cells have fewer."""

    probe: str = "lda"
    draw: int = 0

    def file(self, work: Path) -> Path:
        """Where its figures are kept."""
        words = "".join(c if c.isalnum() else "-" for c in self.features)
        count = "all" if self.labels == ALL else str(self.labels)
        name = f"{self.probe}-{count}-{self.draw}.json"
        return work / "rows" / words / self.missing.replace(" ", "-") / name


@dataclass(frozen=True, eq=False)
class RowResult:
    """Predictions of all pixels, each by the probe of the fold that hid its cell."""

    predicted: NDArray[np.intp]
    """Place of a class, (N,)."""

    sure: NDArray[np.float64]
    """Probability of the predicted class, in steps of 1 / 255, (N,)."""

    tempered: bool
    """Whether hidden labels chose the temperature in every fold."""


def draw_labels(crops: Labelled, fold: Fold, labels: int, draw: int) -> NDArray[np.intp]:
    """Draw labelled samples of those a fold does not hide: as many of each class, or all.

    The same for all feature sets; those of fewer labels are among those of more.
    """
    if labels == ALL:
        return fold.training
    order = np.random.default_rng([draw, fold.number]).permutation(fold.training)
    own = crops.target[order]
    picked = [order[own == place][:labels] for place in range(len(crops.classes))]
    return np.sort(np.concatenate(picked))


Maker = Callable[[Row, Fold], NDArray[np.float64]]
"""Features of all pixels for a row and a fold, (N, F)."""


def run_rows(
    rows: Iterable[Row], crops: Labelled, make: Maker, work: Path, *, kept: int = 450,
    depends: Callable[[Row], tuple[Any, ...]] = lambda row: (row.features, row.missing),
) -> None:  # fmt: skip
    """Compute the rows that are not there, and print a line for each.

    Args:
        rows: In this order.
        crops: What is labelled.
        make: Makes features.
        work: Where rows are kept.
        kept: Rotated features in memory at most, of up to 10 MB each: a draw comes back to them.
        depends: On what of a row its features depend.
    """
    cache: dict[tuple[Any, ...], Rotated] = {}
    for row in rows:
        if row.file(work).exists():
            continue
        predicted = np.zeros(len(crops.target), np.intp)
        sure = np.zeros(len(crops.target))
        tempered = True
        for fold in crops.folds:
            key = (*depends(row), fold.number)
            if key not in cache:
                while len(cache) >= kept:
                    cache.pop(next(iter(cache)))
                cache[key] = rotate(
                    make(row, fold), fold.training, standardised=WHITENED not in row.features
                )
            labelled = draw_labels(crops, fold, row.labels, row.draw)
            learnt = probe(
                row.probe, cache[key], crops.target, crops.cells, labelled,
                np.setdiff1d(fold.training, labelled), fold.test, len(crops.classes),
            )  # fmt: skip
            predicted[fold.test] = learnt.probabilities.argmax(axis=1)
            sure[fold.test] = learnt.probabilities.max(axis=1)
            tempered &= learnt.tempered
        write_row(work, row, RowResult(predicted, sure, tempered), crops.target)
        right = float((predicted == crops.target).mean())
        print(f"{row.features} | {row.missing} | {row.labels or 'all'} | {row.probe} | "
              f"{row.draw}: OA {right:.3f}", flush=True)  # fmt: skip


def read_row(work: Path, row: Row) -> RowResult | None:
    """What a row gave; None if it was not computed."""
    file = row.file(work)
    if not file.exists():
        return None
    stored: Mapping[str, Any] = json.loads(file.read_text())
    sure = np.frombuffer(bytes.fromhex(stored["sure"]), np.uint8) / STEPS_OF_CONFIDENCE
    return RowResult(_digits(stored["predicted"]), sure, bool(stored["tempered"]))


def write_row(work: Path, row: Row, result: RowResult, target: NDArray[np.intp]) -> None:
    """Keep what a row gave, with its overall accuracy; 26 classes at most."""
    content = {
        **asdict(row),
        "overall_accuracy": float((result.predicted == target).mean()),
        "tempered": result.tempered,
        "predicted": _text(result.predicted),
        "sure": np.rint(STEPS_OF_CONFIDENCE * result.sure).astype(np.uint8).tobytes().hex(),
    }
    file = row.file(work)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(content))
    aside.replace(file)


def _text(places: Sequence[int] | NDArray[np.intp]) -> str:
    """Places of classes as letters."""
    return bytes(np.asarray(places, np.uint8) + ord("a")).decode()


def _digits(text: str) -> NDArray[np.intp]:
    return (np.frombuffer(text.encode(), np.uint8) - ord("a")).astype(np.intp)
