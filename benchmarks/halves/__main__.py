"""Whether the standard deviation of latents means what it says.

    python -m benchmarks.halves [SCENES] [--work DIR] [--map FILE.safetensors] [--pixels 1024]
                                [--temper] [--only draws observed blocks] [--jobs 1] [--quick]
                                [--figure FILE]

A pixel's clear observations are split, and what its halves say of the latents is compared with what
all of them say: by the law of total variance the means differ by V_half - V_all in the mean square,
see :mod:`benchmarks.halves.law`. First on draws from the model, then on real places (SCENES, by
default ``../shared/scenes``, with ``scenes-tanzania`` beside it) and simulated worlds, then by how
much neighbours have in common. ``--temper`` fits factors on worlds that are not reported, and
compares what they change. ``--map`` takes an annual map, ``weights`` (k, 12, L), as a model's
``annual.safetensors`` has it. Rows are kept in the work folder, one file for a region and stage,
and not computed again. ``--quick`` takes 64 pixels of Flanders.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.halves.figure import draw
from benchmarks.halves.regions import development, make_all, reported
from benchmarks.halves.runs import STAGES, Rows, measure
from benchmarks.halves.tables import page
from benchmarks.halves.tempered import fit_factors
from benchmarks.pretrained.recipe import PLACES
from terralatent.models.shipped import DEFAULT

QUICK_PIXELS = 64
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> int:
    """Compute what is not there, and print the tables; 1 where there are no scenes."""
    options = _parser().parse_args()
    shared = options.scenes.absolute().parent
    for name in PLACES.values():
        if not (shared / name / "catalog.json").exists():
            print(f"NOT MEASURED: there are no scenes at {shared / name}", file=sys.stderr)
    for name in THREADS:  # the processes that are started read it
        os.environ[name] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).absolute()
        stages = tuple(options.only or (STAGES[:2] if options.quick else STAGES[:3]))
        stages += STAGES[3:] if options.temper else ()
        regions = [region for region in reported() if region.is_there(shared)]
        pixels = QUICK_PIXELS if options.quick else options.pixels
        if options.quick:
            regions = [region for region in regions if region.is_real][:1]
        if not regions:
            return 1
        make_all(work, shared, regions, options.jobs)
        cubes = {region.name: region.cube(work, shared) for region in regions}
        rows: Rows = []
        if "temper" in stages:
            make_all(work, shared, development(), options.jobs)
            bases = {region.name: region.cube(work, shared) for region in development()}
            fit_factors(work, bases, pixels)
        plan = [
            (stage, region)
            for stage in stages
            for region in regions
            if stage == "observed" or region.model == DEFAULT
        ]
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            runs = [
                pool.submit(measure, work, region, cubes[region.name], stage, pixels, options.map)
                for stage, region in plan
            ]
            for run in runs:
                rows += run.result()
        text = page(rows)
        (work / "halves.md").write_text(text)
        (work / "halves.json").write_text(json.dumps(rows, indent=1))
        print(text)
        if options.figure and draw(rows, options.figure):
            print(f"drawn: {options.figure}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "scenes"
    parser.add_argument("scenes", metavar="SCENES", nargs="?", type=Path, default=default)
    parser.add_argument("--work", type=Path, help="folder kept over runs")
    parser.add_argument("--map", type=Path, help="safetensors with weights (k, 12, L)")
    parser.add_argument("--pixels", type=int, default=1024, help="of a region, drawn")
    parser.add_argument("--only", nargs="+", choices=STAGES[:3], help="stages; all by default")
    parser.add_argument("--temper", action="store_true", help="fit factors and compare them")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--quick", action="store_true", help="64 pixels of one place")
    parser.add_argument("--figure", type=Path, help="of the picture")
    return parser


if __name__ == "__main__":
    sys.exit(main())
