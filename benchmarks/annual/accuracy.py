"""What is lost on the way from twelve posterior means to a few bytes: crops of Canada by cell.

The same protocol as :mod:`benchmarks.downstream`: folds by cell, linear discriminants, labels of a
budget, with the model that comes with the package as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.downstream.canada import Crops, Fold, read_canada
from benchmarks.downstream.rows import ALL, Row, RowResult, read_row, run_rows
from benchmarks.downstream.scores import paired, score
from terralatent.models.annual import AnnualMap
from terralatent.models.shipped import model_folder
from terralatent.pipeline.dates import middles_of_months
from terralatent.pipeline.embeddings.packing import PRECISIONS
from terralatent.pipeline.pixels.features import features

__all__ = ["COMPONENTS", "compare_accuracy"]

COMPONENTS = (16, 32, 64)
BUDGETS = (ALL, 50, 10)
WHOLE = "all 192 means"
FIRST_DRAW = 100
"""Of development folds."""


def compare_accuracy(table: Path, work: Path, draws: int, *, development: bool) -> None:
    """Print the overall accuracy and macro-F1 of each feature set, and what it loses. Computes.

    Args:
        table: ``canada-2017.parquet``.
        work: Where rows are kept.
        draws: Of labels, where a budget leaves a choice.
        development: Whether on other folds and draws than those that are reported.
    """
    crops = read_canada(table, seed=int(development))
    sets = feature_sets(crops)
    first = FIRST_DRAW if development else 0
    folder = work / ("development" if development else "reported")
    rows = {
        (name, budget): [Row(name, labels=budget, draw=first + draw) for draw in counted]
        for name in sets
        for budget in BUDGETS
        for counted in [range(1 if budget == ALL else draws)]
    }

    def make(row: Row, fold: Fold) -> NDArray[np.float64]:
        return sets[row.features]

    run_rows([row for own in rows.values() for row in own], crops, make, folder)
    print("| features | " + " | ".join(f"{b or 'all'} labels" for b in BUDGETS) + " |")
    print("|---" * (len(BUDGETS) + 1) + "|")
    for name in sets:
        cells = [
            _cell(crops, folder, rows[name, budget], rows[WHOLE, budget]) for budget in BUDGETS
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


def feature_sets(crops: Crops) -> Mapping[str, NDArray[np.float64]]:
    """Features by name, one row a pixel: the means, and components of them as they are stored."""
    mapped = AnnualMap.load(model_folder(None))
    dates = [str(day) for day in np.sort(middles_of_months(np.datetime64("2017-01-01")))]
    found = features(None, crops.series, dates, parts=("mean",), joint=True, device="cpu")
    assert found.covariance is not None
    means = torch.from_numpy(found.values.reshape(len(found), len(dates), -1))
    vectors, variance = mapped.apply(means, torch.from_numpy(found.covariance))
    own = PRECISIONS["int8"]
    packed, logs, clipped = own.pack(vectors, variance)
    assert own.mean_step is not None
    stored = packed.T * own.mean_step
    log_std = logs.T * own.attrs("log_std")["scale_factor"]
    norms = np.linalg.norm(stored, axis=1) * np.linalg.norm(vectors.numpy(), axis=1)
    cosine = (stored * vectors.numpy()).sum(axis=1) / norms
    print(f"int8: {clipped / 2 / stored.size:.2%} of the values clipped; cosine to float32: median "
          f"{np.median(cosine):.5f}, lowest percentile {np.percentile(cosine, 1):.4f}")  # fmt: skip
    sets = {WHOLE: found.values.astype(np.float64)}
    for count in COMPONENTS:
        sets[f"{count} components"] = vectors[:, :count].double().numpy()
        sets[f"{count} components, int8"] = stored[:, :count].astype(np.float64)
        both = [stored[:, :count], log_std[:, :count]]
        sets[f"{count} components, int8, with log std"] = np.concatenate(both, axis=1)
    return sets


def _cell(crops: Crops, folder: Path, own: list[Row], whole: list[Row]) -> str:
    count = len(crops.classes)
    one, other = ([_read(folder, row) for row in rows] for rows in (own, whole))
    found = score(one, crops.target, count)
    text = f"{found.overall:.3f} / {found.macro_f1:.3f}"
    if own == whole:
        return text
    lost, _ = paired(one, other, crops.target, crops.cells, count)
    return f"{text}, {lost.value:+.3f} ({lost.low:+.3f}, {lost.high:+.3f})"


def _read(folder: Path, row: Row) -> RowResult:
    found = read_row(folder, row)
    assert found is not None
    return found
