"""What features of cubes are worth to whoever has few labelled polygons.

    python -m benchmarks.downstream.parcels [SCENES] [--work DIR] [--draws N] [--size PIXELS]
                                            [--only simulated|scenes] [--development] [--quick]
                                            [--tables] [--figure FILE] [--workers N]

Regions are simulated with seeds 11 to 14 (1 and 2 with ``--development``), in the default temperate
climate; SCENES, ../shared/scenes by default, are real and have some labelled fields. Of each region
a cube is built of all acquisitions of the year, and one from which two thirds of the acquisitions
of every sensor were removed at random. Features of pixels are averaged over polygons; probes learn
from 1, 5 and 10 polygons of each class, and predict a third of all that these are not drawn from.
Three folds hide every polygon once; they and the draws of labels are the same for all features.
Every row leaves a file in the work folder and is not computed again, nor are cubes, models and
latents. ``--quick`` takes one region of 64 pixels with dates removed, one draw and few steps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.downstream.canada import Fold
from benchmarks.downstream.parcels.features import SETS, RegionFeatures
from benchmarks.downstream.parcels.picture import draw_predictions
from benchmarks.downstream.parcels.plan import BUDGETS, plan, row_of
from benchmarks.downstream.parcels.regions import (
    MISSING,
    TWO_THIRDS,
    Region,
    real_region,
    simulated_region,
)
from benchmarks.downstream.parcels.tables import describe, format_page
from benchmarks.downstream.rows import Row, run_rows
from terralatent.pipeline.cluster.client import client_for

SCENES = Path(__file__).resolve().parents[4] / "shared" / "scenes"
SEEDS, DEVELOPMENT = (11, 12, 13, 14), (1, 2)
FIRST_DRAW = 100
"""Of what is for development."""

DRAWS, SIZE = 10, 128
QUICK_SEEDS, QUICK_SIZE, QUICK_STEPS = (1,), 64, 8
DRAWN = ("medians, whitened", "s1s2l8, means and std")
"""Feature sets of the picture, of the first simulated region with two thirds removed."""


def main() -> int:
    """Compute what is not there, and print the tables; 1 where there is nothing to measure."""
    options = _parser().parse_args()
    kind = "quick" if options.quick else "development" if options.development else "reported"
    first = 0 if kind == "reported" else FIRST_DRAW
    draws, kinds = (1, (TWO_THIRDS,)) if options.quick else (options.draws, MISSING)
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)) / kind
        groups = _regions(options, work)
        if not options.tables:
            # Processes take seconds to start: the same ones build and embed all that is made.
            with client_for(workers=options.workers) as client:
                for region in (own for group in groups.values() for own in group):
                    region.make(client)
                    steps = QUICK_STEPS if options.quick else None
                    features = RegionFeatures(region, region.polygons(), client, steps)
                    measure(features, plan(SETS, draws, first, kinds))
        pages = []
        for name, group in groups.items():
            there = {region: region.polygons() for region in group if region.is_made}
            if there:
                pages += [describe(region, polygons) for region, polygons in there.items()]
                pages.append(format_page(there, draws, first, simulated=name == "simulated"))
        if not pages:
            print("NOT MEASURED: no region is there", file=sys.stderr)
            return 1
        (work / "tables.md").write_text("\n\n".join(pages))
        print("\n\n".join(pages))
        region = next(iter(groups.get("simulated", [])), None)
        file = options.figure or (work / "parcels.png" if options.work else None)
        if file and region and region.is_made:
            rows = [row_of(name, TWO_THIRDS, BUDGETS[-1], first) for name in DRAWN]
            if draw_predictions(region, region.polygons(), rows, file):
                print(f"drawn: {file}")
    return 0


def measure(features: RegionFeatures, rows: Iterable[Row]) -> None:
    """Compute the rows of a region that are not there."""

    def make(row: Row, fold: Fold) -> NDArray[np.float64]:
        return features.of(row.features, row.missing)

    print(describe(features.region, features.polygons), flush=True)
    run_rows(rows, features.polygons, make, features.region.work)


def _regions(options: argparse.Namespace, work: Path) -> dict[str, list[Region]]:
    """The regions that are wanted, in groups that are scored together."""
    groups = {}
    wanted = options.only or ("simulated" if options.quick else None)
    if wanted != "scenes":
        seeds = DEVELOPMENT if options.development else SEEDS
        size = options.size
        if options.quick:
            seeds, size = QUICK_SEEDS, QUICK_SIZE
        groups["simulated"] = [simulated_region(work, seed, size) for seed in seeds]
    if wanted == "scenes" or (wanted is None and not options.development):
        if (options.scenes / "labels.geojson").exists():
            groups["scenes"] = [real_region(work, options.scenes)]
        else:
            print(f"NOT MEASURED: there are no scenes at {options.scenes}", file=sys.stderr)
    return groups


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenes", metavar="SCENES", nargs="?", type=Path, default=SCENES)
    parser.add_argument("--work", type=Path, help="folder kept over runs")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of labels")
    parser.add_argument("--size", type=int, default=SIZE, help="pixels along simulated regions")
    parser.add_argument("--only", choices=("simulated", "scenes"), help="regions of one kind")
    parser.add_argument("--development", action="store_true", help="what settings are chosen on")
    parser.add_argument("--quick", action="store_true", help="one small region, a few steps")
    parser.add_argument("--tables", action="store_true", help="run nothing, print what is there")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="of the picture")
    parser.add_argument("--workers", type=int, help="processes that build and embed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
