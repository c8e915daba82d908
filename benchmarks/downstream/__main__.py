"""What features of pixel series are worth to whoever has few labels: crops of Canada by cell.

    python -m benchmarks.downstream [TABLES] [--work DIR] [--only SET ...] [--features FILE ...]
                                    [--draws N] [--development] [--quick] [--tables]
                                    [--figures [DIR]]

TABLES is a folder with ``canada-2017.parquet``, ../shared/tables by default. Five folds by cell:
encoders are trained on pixels of the training cells without labels, probes on a few labels of
these, and all pixels of the test cells are predicted. Settings are chosen on other folds, other
draws and other gaps (``--development``) than those that are reported. Every row of figures leaves a
file in the work folder and is not computed again. ``--features`` compares anybody's embedding: a
Parquet file with a column ``pixel`` (and ``fold``, where an encoder saw training cells only).

Exit code 1 where there is no table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.downstream.canada import Crops, Fold, read_canada
from benchmarks.downstream.feature_sets import RAW, SETS, Setting, of_file
from benchmarks.downstream.figures import draw_all
from benchmarks.downstream.plan import plan
from benchmarks.downstream.rows import Row, run_rows
from benchmarks.downstream.supervised import SUPERVISED, supervised_rows
from benchmarks.downstream.tables import format_page

TABLE = "canada-2017.parquet"
DRAWS = 10
QUICK = ("raw", "raw, whitened", "gpvae, means, whitened")
QUICK_STEPS = 4
COMPARED = ("raw, whitened", "gpvae, means, whitened", "gpvae, means and std")
"""On which more is tried: within the season, and other probes."""

DEVELOPMENT = 1
"""Seed of folds and gaps that are for development."""

FIRST_DRAW = 100
"""Of their draws."""

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> int:
    """Compute what is not there, and print the tables."""
    options = _parser().parse_args()
    file = options.tables_folder / TABLE
    if not file.exists():
        print(f"NOT MEASURED: there is no {file}", file=sys.stderr)
        return 1
    seed = DEVELOPMENT if options.development or options.quick else 0
    crops = read_canada(file, seed=seed)
    print(describe(crops))
    first = FIRST_DRAW if seed else 0
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)) / ("development" if seed else "reported")
        draws = 1 if options.quick else options.draws
        sets = {path.stem: of_file(path) for path in options.features}
        wanted = options.only or ([*QUICK, *sets] if options.quick else [*SETS, *SUPERVISED, *sets])
        sets = {name: own for name, own in {**SETS, **sets}.items() if name in wanted}
        if not options.tables:
            compared = [name for name in COMPARED if name in sets]
            rows = [
                replace(row, draw=first + row.draw)
                for row in plan(list(sets), draws, season=compared, probed=compared)
                if not options.quick or _is_quick(row)
            ]

            def make(row: Row, fold: Fold) -> NDArray[np.float64]:
                steps = QUICK_STEPS if options.quick else None
                return sets[row.features](Setting(crops, fold, row.missing, work, seed, steps))

            run_rows(rows, crops, make, work)
            if set(SUPERVISED) & set(wanted):
                supervised_rows(crops, work, draws, seed, first)
        names = [name for name in (*sets, *SUPERVISED) if name in wanted]
        page = format_page(work, crops, names, list(RAW), draws, first)
        (work / "tables.md").write_text(page)
        print(page)
        if options.figures:
            draw_all(work, crops, names, draws, options.figures, first)
    return 0


def _is_quick(row: Row) -> bool:
    """A few rows of each kind of table."""
    return (row.missing, row.labels) in (("none", 1), ("none", 10), ("50 %", 50))


def describe(crops: Crops) -> str:
    """Say how many pixels of each class each fold hides, and which folds lack one."""
    lines = [f"{len(crops.target)} pixels, {len(np.unique(crops.cells))} cells"]
    for fold in crops.folds:
        counts = np.bincount(crops.target[fold.test], minlength=len(crops.classes))
        there = ", ".join(
            f"{name} {count}" for name, count in zip(crops.classes, counts, strict=True)
        )
        lines.append(f"fold {fold.number} hides {len(fold.test)} pixels: {there}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "tables"
    parser.add_argument("tables_folder", metavar="TABLES", nargs="?", type=Path, default=default)
    parser.add_argument("--work", type=Path, help="folder kept over runs")
    parser.add_argument("--only", nargs="+", metavar="SET", help="feature sets")
    parser.add_argument("--features", nargs="+", type=Path, default=[], metavar="FILE")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of labels")
    parser.add_argument("--development", action="store_true", help="what settings are chosen on")
    parser.add_argument("--quick", action="store_true", help="few rows, a few steps of training")
    parser.add_argument("--tables", action="store_true", help="run nothing, print what is there")
    parser.add_argument("--figures", type=Path, nargs="?", const=DOCS, help="draw into a folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
