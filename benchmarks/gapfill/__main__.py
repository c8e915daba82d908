"""How well hidden Sentinel-2 acquisitions are predicted by every method, with one budget of time.

    python -m benchmarks.gapfill [CATALOGUE] [--work DIR] [--methods A,B] [--budget SECONDS]
                                 [--steps N] [--seeds 0,1] [--sensors S2,+S1,+L8] [--rotation N]
                                 [--jobs N] [--all]
                                 [--development] [--quick] [--plan] [--tables] [--figures [DIR]]

CATALOGUE is a static catalogue, ../shared/scenes by default. What is hidden tells
``benchmarks/gapfill/holdouts.py`` (``--plan`` prints it): settings are chosen on the development
rotations (``--development``), and what is reported was never looked at for it. A cube is built for
each rotation without the hidden acquisitions, every method is trained on it for the same wall time
(unlearned ones take what they take), and predicts them. Each run leaves a file in the work folder
and is not repeated unless code has changed since; ``--keep`` takes what is there as it is.

Exit code 1 where there are no scenes or a run has failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.gapfill.cubes import Looks, prepare
from benchmarks.gapfill.figures import draw_coverage, draw_error, draw_series
from benchmarks.gapfill.holdouts import KINDS, Rotation, development, reported
from benchmarks.gapfill.pool import read_run, run_all
from benchmarks.gapfill.results import ALL, CLEAN, Results, collect, reservations
from benchmarks.gapfill.runs import HINDSIGHT, SENSOR_SETS, Run
from benchmarks.gapfill.tables import (
    by_band,
    by_gap,
    by_kind,
    costs,
    heading,
    main_table,
    sensor_sets,
)
from terralatent.models.families import DEFAULT, LEARNED, UNLEARNED

QUICK = (DEFAULT, "linear", "whittaker", "vae")
QUICK_STEPS = 6
SEEDS = (0, 1, 2)
OVERALL = (
    "Means over seeds, then over rotations; shares of the GP in hindsight are means over rotations "
    "of each one's share. Errors, CRPS, interval score and width in reflectance, NLL in nats."
)
POOLED = (
    "By the days to the nearest clear look by any optical sensor, and by how it was hidden: RMSE "
    "as a share of that of the GP in hindsight, whose own is in reflectance, and how much the 90 % "
    "interval covers, in per cent; all rotations and seeds pooled."
)
DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> int:
    """Run what is asked for and print the tables."""
    options = _parser().parse_args()
    if not options.catalogue.exists():
        print(f"NOT MEASURED: there are no scenes at {options.catalogue}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        looks = prepare(options.catalogue, work)
        # A quick look is a look: none at what is reported.
        plan = development if options.development or options.quick else reported
        rotations = plan(looks.days, looks.share)
        if options.quick:
            rotations = rotations[:1]
        if options.rotation is not None:
            rotations = rotations[options.rotation : options.rotation + 1]
        tell_plan(rotations, looks.times, looks.share)
        if options.plan:
            return 0
        if not options.tables:
            prepare(options.catalogue, work, rotations)
        runs = choose_runs(options, rotations)
        good = options.tables or run_all(
            work, runs, rotations, jobs=options.jobs, keep=options.keep
        )
        page = tell(work, runs, looks, options.all)
        (work / "tables.md").write_text(page)
        print(page)
        if options.figures:
            draw(work, runs, options.figures)
    return 0 if good else 1


def choose_runs(options: argparse.Namespace, rotations: tuple[Rotation, ...]) -> list[Run]:
    """All runs asked for, the references first; then seed by seed."""
    methods = options.methods or (QUICK if options.quick else (*LEARNED, *UNLEARNED))
    steps = QUICK_STEPS if options.quick else options.steps
    runs = [Run(rotation.name, HINDSIGHT) for rotation in rotations]
    one = options.quick or options.development
    seeds = options.seeds or ((0,) if one else SEEDS)
    for seed in seeds:
        for sensors in ("+L8",) if one and not options.all else ("+L8", "+S1", "S2"):
            if sensors != "+L8" and seed and not options.all:
                continue
            if options.sensors and sensors not in options.sensors:
                continue
            runs += [
                Run(
                    rotation.name,
                    method,
                    sensors,
                    seed,
                    options.budget,
                    steps,
                    series=(method, sensors, seed) == (DEFAULT, "+L8", 0),
                )
                for method in methods
                if seed == 0 or method in LEARNED
                for rotation in rotations
            ]
    return runs


def tell(work: Path, runs: list[Run], looks: Looks, every_seed: bool = False) -> str:
    """All tables of what was found, as Markdown; sensor sets by the first seed or by every one."""
    by_set = {name: _collected(work, runs, name) for name in SENSOR_SETS}
    measured = [name for name in SENSOR_SETS if by_set[name].found]
    if not measured:
        return "Nothing was measured."
    results = by_set[measured[-1]]
    parts = [heading("Gap filling"), f"Sensors: {', '.join(SENSOR_SETS[measured[-1]])}.", OVERALL]
    parts += [told] if (told := reservations(work, runs)) else []
    parts += [main_table(results, truth) for truth in (ALL, CLEAN)]
    parts.append(POOLED)
    parts += [by_gap(results, truth) for truth in (ALL, CLEAN)]
    parts.append(by_kind(results, ALL))
    if DEFAULT in results.found:
        parts += ["terralatent, band by band, pooled:", by_band(results, looks.bands)]
    if len(measured) > 1:
        if not every_seed:
            by_set = {name: _collected(work, runs, name, seeds=(0,)) for name in measured}
        told = "all seeds" if every_seed else "seed 0"
        parts += [f"What other sensors add, as shares of the GP in hindsight, {told}:"]
        parts += [sensor_sets({name: by_set[name] for name in measured})]
    parts += ["What it took, means over runs, each with one thread:", costs(results)]
    return "\n\n".join(parts) + "\n"


def draw(work: Path, runs: list[Run], folder: Path) -> None:
    """Draw all figures into a folder."""
    results = _collected(work, runs, "+L8")
    draw_error(results, folder / "gapfill-error.png")
    draw_coverage(results, folder / "gapfill-coverage.png")
    found = [read_run(work, run) for run in runs if run.series]
    told = [each["series"] for each in found if each and "series" in each]
    if told:  # the longest window
        longest = max(told, key=lambda each: max(end - start for start, end in each["windows"]))
        draw_series(longest, folder / "gapfill-series.png")


def _collected(
    work: Path, runs: list[Run], sensors: str, seeds: tuple[int, ...] | None = None
) -> Results:
    by_method: dict[str, list[Run]] = {}
    for run in runs:
        alike = run.sensors == sensors and (seeds is None or run.seed in seeds)
        if run.method != HINDSIGHT and alike:
            by_method.setdefault(run.method, []).append(run)
    return collect(work, by_method, [run for run in runs if run.method == HINDSIGHT])


def tell_plan(rotations: tuple[Rotation, ...], times: object, share: object) -> None:
    """Print which acquisitions are hidden and which of them scored."""
    for rotation in rotations:
        print(f"{rotation.name}: {len(rotation.hidden)} hidden, {len(rotation.scored)} scored")
        for kind in KINDS:
            dates = [
                f"{str(times[at])[:10]} ({100 * share[at]:.0f} %)"
                for at, its in zip(rotation.scored, rotation.kinds, strict=True)
                if its == kind
            ]
            if dates:
                print(f"  {kind}: {', '.join(dates)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "scenes"
    parser.add_argument("catalogue", nargs="?", type=Path, default=default)
    parser.add_argument("--work", type=Path, help="folder kept over runs")
    parser.add_argument("--methods", type=lambda text: tuple(text.split(",")))
    parser.add_argument("--seeds", type=lambda text: tuple(int(one) for one in text.split(",")))
    parser.add_argument("--sensors", type=lambda text: tuple(text.split(",")), help="S2, +S1, +L8")
    parser.add_argument("--rotation", type=int, help="one of them instead of all, from 0")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of training")
    parser.add_argument("--steps", type=int, help="training steps instead of a budget")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--all", action="store_true", help="all seeds for all sensor sets")
    parser.add_argument("--development", action="store_true", help="what settings are chosen on")
    parser.add_argument(
        "--quick", action="store_true", help="one development rotation, a few steps"
    )
    parser.add_argument("--keep", action="store_true", help="results of other code count too")
    parser.add_argument("--tables", action="store_true", help="run nothing, print what is there")
    parser.add_argument("--figures", type=Path, nargs="?", const=DOCS, help="draw into a folder")
    parser.add_argument("--plan", action="store_true", help="print what is hidden, and end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
