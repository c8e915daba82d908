"""The pictures: accuracy against labels, what is missing, the month, and the share that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from benchmarks.downstream.canada import Crops
from benchmarks.downstream.missing import IN_SEASON
from benchmarks.downstream.plan import BUDGETS, SEASON_BUDGET
from benchmarks.downstream.rows import ALL, Row, RowResult
from benchmarks.downstream.tables import Figures

__all__ = ["draw_all"]

# Okabe and Ito's colours, distinct in all kinds of colour vision.
STYLES = {
    "raw": ("#777777", ":", "s"),
    "raw, whitened": ("#000000", "-", "s"),
    "harmonics": ("#56B4E9", ":", "D"),
    "gpvae-start, means, whitened": ("#56B4E9", "-", "o"),
    "gpvae, means, whitened": ("#0072B2", "-", "o"),
    "gpvae, means and std": ("#0072B2", ":", "o"),
    "gpvae with labels, means, whitened": ("#009E73", "-", "P"),
    "s1s2l8, means, whitened": ("#E69F00", "--", "v"),
    "s1s2l8-tuned, means, whitened": ("#E69F00", "-", "v"),
    "vae, means, whitened": ("#D55E00", "-", "^"),
    "transformer, means, whitened": ("#CC79A7", "-", "X"),
}
"""Colour, line and marker of the feature sets that are drawn."""

FONT = {"font.size": 12, "axes.spines.top": False, "axes.spines.right": False}
INCHES, DPI = 9.0, 100
ABSTENTION_BUDGET = 50
MISSING = ("none", "30 %", "50 %", "70 %", "3 months", "no radar", "no optical")


def draw_all(
    work: Path, crops: Crops, names: Sequence[str], draws: int, folder: Path, first: int = 0
) -> None:
    """Draw all figures of the rows that are there into a folder, as PNG."""
    figures = Figures(work, crops, draws, first)
    known = [name for name in STYLES if name in names]
    labels = [Row("", labels=count) for count in BUDGETS[1:]]
    counts = ["all" if count == ALL else str(count) for count in BUDGETS[1:]]
    _draw(figures, known, labels, counts, "labels of each class", folder / "downstream-labels.png")
    missing = [Row("", kind, 50) for kind in MISSING]
    _draw(figures, known, missing, list(MISSING), "missing, 50 labels of each class",
          folder / "downstream-missing.png", joined=False)  # fmt: skip
    season = [Row("", kind, SEASON_BUDGET) for kind in IN_SEASON]
    months = ["April", "May", "June", "July", "August", "September", "October"]
    _draw(figures, known, season, months, "known until the end of",
          folder / "downstream-season.png")  # fmt: skip
    _draw_abstention(figures, known, folder / "downstream-abstention.png")


def _label(name: str) -> str:
    """Latents are whitened where nothing else is said."""
    return name.removesuffix(", means, whitened")


def _draw(
    figures: Figures,
    names: Sequence[str],
    columns: Sequence[Row],
    ticks: Sequence[str],
    title: str,
    file: Path,
    *,
    joined: bool = True,
) -> None:
    with plt.rc_context(FONT):
        figure, panels = plt.subplots(1, 2, figsize=(INCHES, 5.6), layout="constrained")
        for axes, score in zip(panels, ("overall", "macro_f1"), strict=True):
            for place, name in enumerate(names):
                aside = 0.0 if joined else 0.7 * ((place + 0.5) / len(names) - 0.5)
                _points(axes, figures, name, columns, score, joined, aside)
            axes.set_xticks(range(len(ticks)), ticks, rotation=30 if len(ticks) > 5 else 0)
            axes.set_xlabel(title)
            axes.grid(axis="y", alpha=0.3)
        panels[0].set_ylabel("overall accuracy")
        panels[1].set_ylabel("macro-F1")
        handles, labels = panels[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False,
                          fontsize=11)  # fmt: skip
            file.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(file, dpi=DPI)
        plt.close(figure)


def _points(
    axes: Axes,
    figures: Figures,
    name: str,
    columns: Sequence[Row],
    score: str,
    joined: bool,
    aside: float,
) -> None:
    found = [figures.scores(Row(name, row.missing, row.labels)) for row in columns]
    values = np.array([np.nan if own is None else getattr(own, score) for own in found])
    if np.isfinite(values).any():
        colour, line, marker = STYLES[name]
        filled = "white" if line == "--" else colour
        axes.plot(
            np.arange(len(values)) + aside, values, linestyle=line if joined else "none",
            color=colour, marker=marker, ms=6, markerfacecolor=filled, label=_label(name),
        )  # fmt: skip


def _draw_abstention(figures: Figures, names: Sequence[str], file: Path) -> None:
    """Accuracy of the pixels that are kept where the least sure ones are left out."""
    with plt.rc_context(FONT):
        figure, panels = plt.subplots(1, 2, figsize=(INCHES, 5.6), sharey=True,
                                      layout="constrained")  # fmt: skip
        for axes, kind in zip(panels, ("none", "50 %"), strict=True):
            for name in names:
                results = figures.results(Row(name, kind, ABSTENTION_BUDGET))
                if results:
                    kept, right = _kept(results, figures.crops)
                    colour, line, _ = STYLES[name]
                    axes.plot(kept, right, line, color=colour, label=_label(name))
            axes.set_title(f"missing: {kind}", fontsize=12)
            axes.set_xlabel("share of pixels that is kept")
            axes.grid(alpha=0.3)
        panels[0].set_ylabel(f"overall accuracy, {ABSTENTION_BUDGET} labels of each class")
        handles, labels = panels[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False,
                          fontsize=11)  # fmt: skip
            figure.savefig(file, dpi=DPI)
        plt.close(figure)


def _kept(
    results: Sequence[RowResult], crops: Crops
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares that are kept, and the accuracy of these, pooled over draws."""
    sure = np.concatenate([own.sure for own in results])
    right = np.concatenate([own.predicted == crops.target for own in results])
    order = np.argsort(-sure, kind="stable")
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    places = np.linspace(0.1, 1.0, 46)
    return places, accuracy[(places * len(order)).astype(int) - 1]
