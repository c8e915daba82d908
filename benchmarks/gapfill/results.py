"""The scores of many runs, brought together: by method, over rotations and seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gapfill.measure import code_digest
from benchmarks.gapfill.pool import read_run
from benchmarks.gapfill.runs import HINDSIGHT, Run
from benchmarks.gapfill.scoring import MEASURES

__all__ = ["ALL", "CLEAN", "NAMES", "Results", "collect", "figures", "reservations", "sums"]

Array = NDArray[np.floating]

ALL, CLEAN = 0, 1
"""Places of the two truths."""

NAMES: Mapping[str, str] = {
    "gpvae": "terralatent",
    "vae": "VAE, each date alone",
    "series": "whole-series VAE",
    "mtan": "mTAN-VAE",
    "hetvae": "HeTVAE",
    "transformer": "masked transformer VAE",
    "linear": "linear interpolation",
    "whittaker": "Whittaker",
    "harmonics": "harmonic regression",
    "gp": "GP for each band",
    "mogpr": "multi-output GP",
    HINDSIGHT: "GP in hindsight",
}
"""What methods are called where they are shown."""


def figures(sums: Mapping[str, Array], at: Any = ...) -> dict[str, float]:
    """Scores over the cells ``at``; NaN where they are empty.

    Args:
        sums: By measure, shape (kind, gap, band), of one truth.
        at: An index into that shape.
    """
    total = {name: float(np.sum(sums[name][at])) for name in MEASURES}
    count = total.pop("n")
    mean = {name: value / count if count else float("nan") for name, value in total.items()}
    return {
        "n": count,
        "rmse": mean["square"] ** 0.5,
        "mae": mean["absolute"],
        "nll": mean["nll"],
        "crps": mean["crps"],
        "interval": mean["interval"],
        "in50": 100 * mean["in50"],
        "in90": 100 * mean["in90"],
        "width": mean["width90"],
    }


@dataclass(frozen=True)
class Results:
    """Scores that were found, by label and rotation: one entry for each seed."""

    found: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]
    """By label (a method, or a row of an ablation) and rotation, what the runs told."""

    reference: Mapping[str, Mapping[str, Any]]
    """By rotation, what the GP in hindsight told."""

    def labels(self, truth: int = ALL) -> list[str]:
        """Labels from the least error to the largest."""
        return sorted(self.found, key=lambda label: self.ratio(label, truth)[0])

    def rotations(self, label: str) -> list[str]:
        """Rotations of which the label and the reference have scores."""
        return sorted(set(self.found[label]) & set(self.reference))

    def mean(self, label: str, truth: int = ALL) -> dict[str, float]:
        """Scores over all cells: mean over seeds, then over rotations."""
        if label == HINDSIGHT:
            each = [figures(sums(told, truth)) for told in self.reference.values()]
        else:
            each = [
                _mean([figures(sums(told, truth)) for told in self.found[label][rotation]])
                for rotation in self.rotations(label)
            ]
        return _mean(each)

    def ratio(self, label: str, truth: int = ALL) -> tuple[float, float, float]:
        """RMSE as a share of the reference's: mean over rotations, least and largest of them."""
        ratios = []
        for rotation in self.rotations(label):
            base = figures(sums(self.reference[rotation], truth))["rmse"]
            told = [figures(sums(each, truth))["rmse"] for each in self.found[label][rotation]]
            ratios.append(float(np.mean(told)) / base)
        if not ratios:
            return (float("nan"),) * 3
        return float(np.mean(ratios)), min(ratios), max(ratios)

    def pooled(self, label: str, truth: int = ALL) -> dict[str, Array]:
        """Sums over rotations and seeds, by measure, shape (kind, gap, band)."""
        if label == HINDSIGHT:
            return _add(self.reference.values(), truth)
        return _add(
            (each for rotation in self.rotations(label) for each in self.found[label][rotation]),
            truth,
        )

    def against(self, label: str, truth: int = ALL) -> dict[str, Array]:
        """The reference's sums over the same rotations, once for each seed of the label."""
        return _add(
            (
                self.reference[rotation]
                for rotation in self.rotations(label)
                for _ in self.found[label][rotation]
            ),
            truth,
        )

    def central(self, label: str, truth: int = ALL) -> Array:
        """Counts by gap and by level of the smallest central interval, (gap, LEVELS)."""
        told = (
            list(self.reference.values())
            if label == HINDSIGHT
            else [each for rotation in self.found[label].values() for each in rotation]
        )
        return np.sum([each["central"][truth] for each in told], axis=0)

    def told(self, label: str, name: str) -> float:
        """Mean over all runs of something else that they told; NaN where none did."""
        every = [each for rotation in self.found[label].values() for each in rotation]
        values = [each[name] for each in every if each.get(name) is not None]
        return float(np.mean(values)) if values else float("nan")


def collect(work: Path, runs: Mapping[str, Sequence[Run]], references: Sequence[Run]) -> Results:
    """Read the scores of runs by label; those that are not there are left out."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for label, some in runs.items():
        by_rotation: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for run in some:
            told = read_run(work, run)
            if told is not None and "sums" in told:
                by_rotation[run.rotation].append(told)
        if by_rotation:
            found[label] = dict(by_rotation)
    reference = {run.rotation: read_run(work, run) for run in references}
    return Results(
        found, {name: told for name, told in reference.items() if told and "sums" in told}
    )


def reservations(work: Path, runs: Iterable[Run]) -> str:
    """What tables of these runs must be read with, as one line: those of which there are no scores,
    and how many were scored by other code; empty where there is nothing to say."""
    now = {of: code_digest(HINDSIGHT if of else "") for of in (True, False)}
    absent, others, lines = [], 0, []
    wanted = {run.file(work): run for run in runs}
    for file, run in wanted.items():
        told = read_run(work, run)
        if told is None or "sums" not in told:
            absent.append(f"{file.parent.name}/{file.stem}")
        elif told["code"] != now[run.method == HINDSIGHT]:
            others += 1
    if absent:
        lines.append(f"Not there, so left out of all means: {', '.join(absent)}.")
    if others:
        lines.append(f"{others} of {len(wanted)} runs were scored by other code than that of now.")
    return " ".join(lines)


def sums(told: Mapping[str, Any], truth: int) -> dict[str, Array]:
    """The sums of one run for one truth, by measure, shape (kind, gap, band)."""
    return {name: np.array(told["sums"][name][truth]) for name in MEASURES}


def _add(told: Iterable[Mapping[str, Any]], truth: int) -> dict[str, Array]:
    parts = [sums(each, truth) for each in told]
    return {name: np.sum([part[name] for part in parts], axis=0) for name in MEASURES}


def _mean(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    if not each:
        return {}
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}
