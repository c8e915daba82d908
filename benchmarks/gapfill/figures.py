"""The pictures of the benchmark: a filled series, error by gap, coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from benchmarks.gapfill.results import ALL, Results, figures
from benchmarks.gapfill.runs import HINDSIGHT
from benchmarks.gapfill.scoring import GAPS, LEVELS
from benchmarks.gapfill.tables import name_of
from terralatent.models.families import DEFAULT

__all__ = ["draw_coverage", "draw_error", "draw_series"]

# Okabe and Ito's colours, distinct in all kinds of colour vision.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9",
)  # fmt: skip
GREY, BLACK = "#777777", "#000000"

STYLES: Mapping[str, tuple[str, str, str]] = {
    "gpvae": (BLUE, "-", "o"),
    HINDSIGHT: (BLACK, "--", "s"),
    "vae": (VERMILION, "-", "v"),
    "series": (VERMILION, ":", "^"),
    "mtan": (ORANGE, "-", "D"),
    "hetvae": (ORANGE, ":", "P"),
    "transformer": (PURPLE, "-", "X"),
    "linear": (GREY, "-", "v"),
    "whittaker": (GREY, ":", "^"),
    "harmonics": (SKY, "-", "D"),
    "gp": (GREEN, "-", "s"),
    "mogpr": (GREEN, ":", "P"),
}
"""Colour, line and marker of each method."""

FONT = {"font.size": 12, "axes.titlesize": 13, "axes.spines.top": False, "axes.spines.right": False}
INCHES, DPI = 9.0, 100
Z90 = 1.6448536269514722
FEWEST = 2000
"""Values below which a gap's figure is not drawn."""


def draw_series(series: Mapping[str, Any], file: Path) -> None:
    """Draw one pixel's filled series beside its observed and hidden values."""
    with plt.rc_context(FONT):
        figure, panels = plt.subplots(
            len(series["bands"]), 1, figsize=(INCHES, 6.4), sharex=True, layout="constrained"
        )
        days = _dates(series["days"])
        for place, (band, axes) in enumerate(zip(series["bands"], panels, strict=True)):
            mean, std, low, high = (
                np.array(series[name])[:, place] for name in ("mean", "std_signal", "q05", "q95")
            )
            axes.fill_between(
                days,
                low,
                high,
                color=SKY,
                alpha=0.35,
                lw=0,
                label="observation, 90 % predictive interval",
            )
            axes.fill_between(
                days, mean - Z90 * std, mean + Z90 * std, color=BLUE, alpha=0.45, lw=0,
                label="surface, 90 % credible interval",
            )  # fmt: skip
            axes.plot(days, mean, color=BLUE, lw=1.6, label="surface, mean")
            seen, hidden = (
                np.array(series[name]["values"])[:, place] for name in ("seen", "hidden")
            )
            axes.plot(
                _dates(series["seen"]["days"]), seen, "o", ms=5, color=BLACK, label="observed"
            )
            axes.plot(
                _dates(series["hidden"]["days"]), hidden, "D", ms=7, mfc=ORANGE, mec=BLACK, mew=0.8,
                label="hidden, shown afterwards",
            )  # fmt: skip
            for number, (start, end) in enumerate(series["windows"]):
                axes.axvspan(
                    *_dates([start, end]), color=GREY, alpha=0.18, lw=0, zorder=0,
                    label="all Sentinel-2 hidden" if not number else None,
                )  # fmt: skip
            shown = np.concatenate([low, high, seen, hidden])
            axes.set_ylim(min(0.0, shown.min()), 1.05 * shown.max())
            axes.set_ylabel(f"{band}, reflectance")
            axes.margins(x=0.01)
        panels[-1].xaxis.set_major_formatter(mdates.ConciseDateFormatter(mdates.AutoDateLocator()))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
        _save(figure, file)


def draw_error(results: Results, file: Path) -> None:
    """Draw the error of all methods by the days to the nearest clear observation."""
    labels = _ordered(results)
    with plt.rc_context(FONT):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(INCHES, 6.0), sharex=True, layout="constrained"
        )
        shares = []
        for label in labels:
            error = _by_gap(results, label, "rmse")
            shares.append(error / _by_gap(results, label, "rmse", against=True))
            _line(left, label, error)
            _line(right, label, shares[-1])
        left.set_ylabel("RMSE, reflectance")
        left.set_ylim(bottom=0)
        right.set_ylabel("share of the GP in hindsight")
        # What is far worse leaves the picture here, and is seen on the left.
        right.set_ylim(top=min(1.3, 1.02 * np.nanmax(shares)))
        for axes in (left, right):
            _gap_axis(axes)
        _legend(figure, left)
        _save(figure, file)


def draw_coverage(results: Results, file: Path) -> None:
    """Draw observed against nominal coverage, and that of 90 % predictive intervals by gap."""
    labels = _ordered(results)
    with plt.rc_context(FONT):
        figure, (left, right) = plt.subplots(1, 2, figsize=(INCHES, 6.0), layout="constrained")
        nominal = 100 * np.arange(1, LEVELS) / LEVELS
        left.plot([0, 100], [0, 100], color=GREY, lw=1, zorder=0)
        left.text(52, 44, "as stated", color=GREY, rotation=45, ha="center", va="center")
        for label in labels:
            counts = results.central(label).sum(0)
            _line(left, label, 100 * counts.cumsum()[:-1] / counts.sum(), nominal, marks=False)
            _line(right, label, _by_gap(results, label, "in90"))
        left.set(xlabel="predictive interval, %", ylabel="% of hidden values within")
        left.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
        right.axhline(90, color=GREY, lw=1, zorder=0)
        right.axhspan(80, 96, color=GREY, alpha=0.15, lw=0, zorder=0)
        right.set_ylabel("% within the 90 % predictive interval")
        right.set_ylim(min(76.0, np.floor(right.get_ylim()[0])), 100)
        right.yaxis.set_major_locator(MultipleLocator(5))
        _gap_axis(right)
        _legend(figure, right)
        _save(figure, file)


def _ordered(results: Results) -> list[str]:
    """Methods in the order of :data:`STYLES`: ours, the reference, others."""
    return [label for label in STYLES if label in results.scores or label == HINDSIGHT]


def _by_gap(results: Results, label: str, name: str, *, against: bool = False) -> np.ndarray:
    """A score of a label by gap, or of the reference over the label's rotations and seeds."""
    base = results.pooled(HINDSIGHT, ALL)
    own = results.pooled(label, ALL)
    if against and label != HINDSIGHT:
        own = results.against(label, ALL)
    scores = []
    for gap in range(len(GAPS)):
        enough = figures(base, np.s_[:, gap])["n"] >= FEWEST
        scores.append(figures(own, np.s_[:, gap])[name] if enough else np.nan)
    return np.array(scores)


def _line(
    axes: Axes, label: str, y: np.ndarray, x: np.ndarray | None = None, *, marks: bool = True
) -> None:
    colour, line, marker = STYLES[label]
    ours = label == DEFAULT
    axes.plot(
        np.arange(len(y)) if x is None else x,
        y,
        line,
        color=colour,
        marker=marker if marks else None,
        ms=8 if ours else 5,
        lw=3.2 if ours else 1.5,
        zorder=5 if ours else 2,
        label=name_of(label),
    )


def _gap_axis(axes: Axes) -> None:
    names = [name.replace(" to ", "-").replace("over ", ">") for name in GAPS]
    axes.set_xticks(range(len(GAPS)), names)
    axes.set_xlim(-0.3, len(GAPS) - 0.7)
    axes.set_xlabel("days to the nearest clear observation")
    axes.grid(axis="y", alpha=0.3)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=11)


def _dates(days: Sequence[float]) -> np.ndarray:
    seconds = np.rint(np.array(days) * 86_400).astype(np.int64)
    return seconds.astype("datetime64[s]")


def _save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=DPI)
    plt.close(figure)
