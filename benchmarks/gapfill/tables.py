"""The scores as Markdown."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.gapfill.holdouts import KINDS
from benchmarks.gapfill.results import ALL, CLEAN, NAMES, Results, figures
from benchmarks.gapfill.runs import HINDSIGHT
from benchmarks.gapfill.scoring import GAPS
from terralatent.models.families import DEFAULT

__all__ = [
    "by_band",
    "by_gap",
    "by_kind",
    "costs",
    "heading",
    "main_table",
    "name_of",
    "sensor_sets",
    "table",
    "where",
]

OMITTED, OMITTED_FLAGS = ("--work", "--figures"), ("--tables", "--keep")
"""Options that change no figure: those with a value, and those without."""

TRUTHS = {ALL: "all truth", CLEAN: "clean truth"}


def heading(title: str) -> str:
    """Title, machine, commit and command."""
    return "\n\n".join((f"## {title}", f"`{_command()}`", where()))


def where() -> str:
    """Machine, versions and commit, as one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    device = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{names[0] if names else platform.processor()}, {cores} cores{device}"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"Machine: {machine}; {versions}. Commit: {_commit()}."


def main_table(results: Results, truth: int) -> str:
    """All scores of every method, best first; over all cells."""
    head = [
        f"{TRUTHS[truth]}", "RMSE", "of the GP in hindsight", "lowest, highest rotation", "MAE",
        "NLL", "CRPS", "interval score", "50 % predictive interval covers", "90 %", "its width",
    ]  # fmt: skip
    rows = []
    for label in [*results.labels(truth), HINDSIGHT]:
        scores = results.mean(label, truth)
        mean, low, high = (1.0, 1.0, 1.0) if label == HINDSIGHT else results.ratio(label, truth)
        bold = "**" if label == DEFAULT else ""
        rows.append(
            [
                f"{bold}{name_of(label)}{bold}",
                f"{scores['rmse']:.4f}",
                f"{bold}{mean:.3f}{bold}",
                f"{low:.3f}, {high:.3f}",
                f"{scores['mae']:.4f}",
                f"{scores['nll']:.3f}",
                f"{scores['crps']:.4f}",
                f"{scores['interval']:.4f}",
                f"{scores['in50']:.1f} %",
                f"{scores['in90']:.1f} %",
                f"{scores['width']:.4f}",
            ]
        )
    return table(head, rows)


def costs(results: Results) -> str:
    """What every method took; what is unlearned has settings, but trains nothing."""
    head = ["method", "parameters", "training, s", "steps", "best step", "predicting, s"]
    rows = []
    for label in results.labels():
        seconds, predicting = (
            results.mean_of(label, "seconds"),
            results.mean_of(label, "predicting"),
        )
        trained = [results.mean_of(label, name) for name in ("parameters", "steps", "best_step")]
        cells = [f"{value:,.0f}" for value in trained] if any(trained) else ["none", "–", "–"]
        rows.append([name_of(label), cells[0], f"{seconds:.0f}", *cells[1:], f"{predicting:.0f}"])
    return table(head, rows)


def by_gap(results: Results, truth: int) -> str:
    """RMSE as a share of the reference's and coverage, by gap; all rotations pooled."""
    base = results.pooled(HINDSIGHT, truth)
    counts = [figures(base, np.s_[:, gap])["n"] for gap in range(len(GAPS))]
    share = [
        f"{name} ({100 * n / sum(counts):.0f} %)" for name, n in zip(GAPS, counts, strict=True)
    ]
    head = [f"days to the nearest clear observation, {TRUTHS[truth]}", *share]
    head += [f"90 % covers: {name}" for name in GAPS]
    return _by(results, truth, head, [np.s_[:, gap] for gap in range(len(GAPS))])


def by_kind(results: Results, truth: int) -> str:
    """The same by kind of hold-out."""
    head = [f"hidden, {TRUTHS[truth]}", *KINDS, *(f"90 % covers: {name}" for name in KINDS)]
    return _by(results, truth, head, [np.s_[kind] for kind in range(len(KINDS))])


def _by(results: Results, truth: int, head: list[str], places: Sequence[object]) -> str:
    rows = []
    for label in [*results.labels(truth), HINDSIGHT]:
        sums = results.pooled(label, truth)
        base = sums if label == HINDSIGHT else results.against(label, truth)
        scores = [figures(sums, at) for at in places]
        against = [figures(base, at)["rmse"] for at in places]
        ratios = [
            f"{score['rmse']:.4f}" if label == HINDSIGHT else f"{score['rmse'] / rmse:.3f}"
            for score, rmse in zip(scores, against, strict=True)
        ]
        rows.append([name_of(label), *ratios, *(f"{score['in90']:.1f}" for score in scores)])
    return table(head, rows)


def by_band(results: Results, bands: Sequence[str], label: str = DEFAULT) -> str:
    """RMSE and coverage of one method in each band; all rotations pooled."""
    head = [
        "band", "RMSE", "of the GP in hindsight", "clean truth", "of the GP in hindsight",
        "90 % predictive interval covers", "its width",
    ]  # fmt: skip
    rows = []
    for place, band in enumerate(bands):
        at = np.s_[:, :, place]
        cells = []
        for truth in (ALL, CLEAN):
            rmse = figures(results.pooled(label, truth), at)["rmse"]
            base = figures(results.against(label, truth), at)["rmse"]
            cells += [f"{rmse:.4f}", f"{rmse / base:.3f}"]
        scores = figures(results.pooled(label, ALL), at)
        rows.append([band, *cells, f"{scores['in90']:.1f} %", f"{scores['width']:.4f}"])
    return table(head, rows)


def sensor_sets(by_set: Mapping[str, Results]) -> str:
    """RMSE as a share of the reference's for each set of sensors, of methods that have them all."""
    first, *others = by_set.values()
    labels = [label for label in first.labels() if all(label in other.scores for other in others)]
    places = [(truth, name) for truth in (ALL, CLEAN) for name in by_set]
    named = {"S2": "S2 alone", "+L8": "+S1 +L8"}
    head = ["method", *(f"{named.get(name, name)}, {TRUTHS[truth]}" for truth, name in places)]
    rows = [
        [name_of(label), *(f"{by_set[name].ratio(label, truth)[0]:.3f}" for truth, name in places)]
        for label in labels
    ]
    return table(head, rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay rows out as a Markdown table."""
    known = [["–" if cell.startswith("nan") else cell for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *known]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def name_of(label: str) -> str:
    """What a method is called; other labels stay."""
    return NAMES.get(label, label)


def _command() -> str:
    """How this was called, without where things are kept: of a folder, only its name."""
    words, left = [], iter(sys.argv[1:])
    for word in left:
        if word in OMITTED:
            next(left, None)
        elif word not in OMITTED_FLAGS:
            words.append(Path(word).name if Path(word).is_dir() else word)
    module = f"benchmarks.gapfill.{Path(sys.argv[0]).stem}".removesuffix(".__main__")
    return shlex.join(["python", "-m", module, *words])


def _commit() -> str:
    def git(*words: str) -> str:
        result = subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True
        )
        return result.stdout.strip() if result.returncode == 0 else ""

    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    return commit + (", changed since" if git("status", "--porcelain", "--", "..") else "")
