"""Make the model that comes with the package from nothing: worlds, trainings, scores, card.

    python -m benchmarks.pretrained --work DIR [--only STAGE ...] [--jobs 2] [--into FOLDER]

The stages, each of which goes on where it stood:

    worlds    simulate the worlds of the recipe and build their cubes
    train     each seed on all places, and on all but one real place, side by side
    select    the seed whose models are best on development rotations and climates kept aside
    score     the reported rotations, once: as it is, calibrated, trained further
    ship      weights, scores and card into FOLDER, `models/weights/NAME` by default; where nothing
              reported was scored, the card has the development rotations
    annual    the map of years to components, fitted to the same cubes, beside the model that FOLDER
              has by now (it can be made anew without the stages before)

Exit code 1 where the real scenes are absent: the recipe needs them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.pretrained.annual import map_years
from benchmarks.pretrained.figures import before_reported, figures
from benchmarks.pretrained.fit import fit
from benchmarks.pretrained.recipe import PLACES, RECIPE
from benchmarks.pretrained.selection import select
from benchmarks.pretrained.ship import ship
from benchmarks.pretrained.worlds import make_worlds, real_cube

STAGES = ("worlds", "train", "select", "score", "ship", "annual")
ROOT = Path(__file__).resolve().parents[2]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> int:
    """Run the stages."""
    options = _parser().parse_args()
    work, shared = options.work.absolute(), options.shared.absolute()
    missing = [name for name in PLACES.values() if not (shared / name / "catalog.json").exists()]
    if missing:
        print(f"NOT MADE: there are no scenes at {shared}: {', '.join(missing)}", file=sys.stderr)
        return 1
    into = options.into or ROOT / "models" / "weights" / RECIPE.name
    logging.basicConfig(level=logging.WARNING)
    for name in THREADS:  # the processes that are started read it
        os.environ[name] = "1"
    for stage in options.only or STAGES:
        print(f"== {stage}", flush=True)
        if stage == "worlds":
            make_worlds(work, RECIPE, options.jobs)
        elif stage == "train":
            _train_all(work, shared, options.jobs)
        elif stage == "select":
            chosen = select(work, shared, RECIPE, options.jobs)
            (work / "selection.json").write_text(json.dumps(chosen, indent=1))
            print(json.dumps(chosen, indent=1))
        elif stage == "score":
            chosen = json.loads((work / "selection.json").read_text())
            scores = figures(work, shared, RECIPE, chosen, options.jobs)
            (work / "scores.json").write_text(json.dumps(scores, indent=1))
        elif stage == "annual":
            map_years(work, shared, RECIPE, into).save(into)
            print(f"-> {into}")
        else:
            chosen = json.loads((work / "selection.json").read_text())
            scores = before_reported(work, RECIPE, chosen)
            if (scored := work / "scores.json").exists():
                scores = json.loads(scored.read_text())
            ship(work, into, RECIPE, scores)
            print(f"-> {into}")
    return 0


def _train_all(work: Path, shared: Path, jobs: int) -> None:
    """Every training of the recipe, side by side, one thread each."""
    for name in PLACES:  # cubes are built before processes share them
        real_cube(work, shared, name)
    runs = [(seed, without) for seed in RECIPE.trained for without in (*PLACES, None)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        begun = {run: pool.submit(fit, work, shared, RECIPE, *run) for run in runs}
        for (seed, without), report in begun.items():
            print(f"seed {seed}, without {without or 'none'}: {report.result()}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder kept over runs")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--only", nargs="+", choices=STAGES, help="stages; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--into", type=Path, help="where weights and card go")
    return parser


if __name__ == "__main__":
    sys.exit(main())
