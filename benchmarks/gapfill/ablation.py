"""What each choice of the model is worth: the default with one thing changed, a row each.

    python -m benchmarks.gapfill.ablation [CATALOGUE] [--work DIR] [--budget SECONDS] [--jobs N]
                                  [--rotations development|reported] [--simulated REGION]
                                  [--rows TEXT,TEXT] [--tables] [--keep] [--quick]

Every row is trained on all sensors with seed 0 and the same wall time as the default, or with
--steps for as many steps (other posteriors: for --budget seconds). It is judged
on the rotations of ``benchmarks/gapfill/holdouts.py``: those for development unless --rotations
says otherwise, since choices are made here. With --simulated, a folder that `terralatent simulate`
wrote, also on that region, against its true surface every five days.

--quick trains three rows for a few steps on one rotation.

A row that ``train`` cannot do is shown as such. Exit code 1 where there are no scenes or a run has
failed.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gapfill.cubes import prepare
from benchmarks.gapfill.holdouts import development, reported
from benchmarks.gapfill.pool import read_run, run_all
from benchmarks.gapfill.results import ALL, CLEAN, Results, collect, figures, reservations, sums
from benchmarks.gapfill.runs import HINDSIGHT, Run, not_there
from benchmarks.gapfill.simulated import SIMULATED, prepare_region
from benchmarks.gapfill.tables import heading, table
from terralatent.models.config import ModelConfig
from terralatent.models.families import DEFAULT
from terralatent.pipeline.cube.masking import Masking
from terralatent.pipeline.training.train import train

ROWS: Mapping[str, Mapping[str, Any]] = {
    "the default": {},
    "start only, no training": {"steps": 0},
    "start: optical sensors heard as evidence says": {"start": "joint"},
    "start: random": {"start": "random"},
    "1 robust refinement": {"refinements": 1},
    "2 robust refinements": {"refinements": 2},
    "no nuisance latent: bands' noise independent": {"nuisance": 0},
    "1 nuisance latent": {"nuisance": 1},
    "4 nuisance latents": {"nuisance": 4},
    "scene-wide errors taken off": {"scene_errors": True},
    "Gaussian likelihood": {"likelihood": "gaussian"},
    "no calibration": {"calibrated": False},
    "looks masked that no neighbour supports": {"masking": Masking(outliers=True)},
    "clouds widened by 1 pixel": {"masking": Masking(dilate=1)},
    "clouds widened by 3 pixels": {"masking": Masking(dilate=3)},
    "no day of year": {"season": False},
    "nothing hidden in training": {"hide": False},
    "beta 0.1": {"beta": 0.1},
    "beta 4": {"beta": 4.0},
    "4 latents": {"latents": 4},
    "8 latents": {"latents": 8},
    "24 latents": {"latents": 24},
    "Matérn-1/2": {"kernel": "matern12"},
    "Matérn-3/2": {"kernel": "matern32"},
    "Matérn-5/2": {"kernel": "matern52"},
    "constant + Matérn-1/2": {"kernel": "constant+matern12"},
    "constant + Matérn-3/2": {"kernel": "constant+matern32"},
    "constant + Matérn-5/2": {"kernel": "constant+matern52"},
    "constant + Matérn-1/2 + Matérn-3/2": {"kernel": "constant+matern12+matern32"},
    "constant + a wave of a year + Matérn-1/2": {"kernel": "constant+periodic1+matern12"},
    "constant + a wave of a year that drifts": {"kernel": "constant+periodic1*matern12"},
    "posterior: inducing points": {"posterior": "inducing"},
    "posterior: Hilbert space": {"posterior": "hilbert"},
    "posterior: banded precision": {"posterior": "banded"},
    "posterior: nearest neighbours": {"posterior": "vecchia"},
}
"""What is changed, by the name of the row; the posterior ``exact`` is the default's own."""

QUICK_STEPS = 6
QUICK_ROWS = ("refinement",)


def main() -> int:
    """Run what is asked for and print the table."""
    options = _parser().parse_args()
    if options.quick:
        options.steps, options.rows = QUICK_STEPS, QUICK_ROWS
    if not options.catalogue.exists():
        print(f"NOT MEASURED: there are no scenes at {options.catalogue}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        looks = prepare(options.catalogue, work)
        plan = reported if options.rotations == "reported" else development
        rotations = plan(looks.days, looks.share)[: 1 if options.quick else None]
        rows = {
            label: changed
            for label, changed in ROWS.items()
            if not changed or not options.rows or any(text in label for text in options.rows)
        }
        references = [Run(rotation.name, HINDSIGHT) for rotation in rotations]
        runs = {
            label: [_run(options, rotation.name, changed) for rotation in rotations]
            for label, changed in rows.items()
        }
        on_region = {}
        if options.simulated:
            on_region = {
                label: [_run(options, SIMULATED, changed, str(options.simulated.resolve()))]
                for label, changed in rows.items()
            }
        good = True
        if not options.tables:
            prepare(options.catalogue, work, rotations)
            if on_region:
                prepare_region(options.simulated, work)
            asked = [
                run
                for label, changed in rows.items()
                if not not_there(changed) and (not changed or not _is_default(changed))
                for run in (*runs[label], *on_region.get(label, ()))
            ]
            good = run_all(
                work, [*references, *asked], rotations, jobs=options.jobs, keep=options.keep
            )
        page = tell(work, rows, runs, on_region, references)
        (work / "ablation.md").write_text(page)
        print(page)
    return 0 if good else 1


def tell(
    work: Path,
    rows: Mapping[str, Mapping[str, Any]],
    runs: Mapping[str, list[Run]],
    on_region: Mapping[str, list[Run]],
    references: list[Run],
) -> str:
    """The table of what was found, as Markdown."""
    results = collect(work, runs, references)
    surfaces = {
        label: told
        for label, (run,) in on_region.items()
        if (told := read_run(work, run)) is not None and "sums" in told
    }
    head = [
        "changed", "RMSE of the GP in hindsight", "clean truth", "CRPS", "90 % interval covers",
        "interval score", "held-out log density", "steps", "s",
    ]  # fmt: skip
    if on_region:
        head += ["simulated: RMSE of the surface", "its 90 % interval covers", "CRPS"]
    lines = []
    for label, changed in rows.items():
        if missing := not_there(changed):
            cells = [f"not there: train has no {', '.join(missing)}"]
        elif changed and _is_default(changed):
            cells = ["the default"]
        elif label not in results.found:
            cells = [_why(work, runs[label])]
        else:
            cells = _scores(results, label)
            if label in surfaces:
                cells += _surface(surfaces[label])
        lines.append([label, *cells, *[""] * (len(head) - 1 - len(cells))])
    name = references[0].rotation.partition("-")[0] if references else ""
    shown = [run for label in results.found for run in (*runs[label], *on_region.get(label, ()))]
    parts = [heading(f"Ablation, {name} rotations"), reservations(work, [*references, *shown])]
    return "\n\n".join(part for part in (*parts, table(head, lines)) if part) + "\n"


def _scores(results: Results, label: str) -> list[str]:
    found = results.mean(label)
    return [
        f"{results.ratio(label, ALL)[0]:.3f}",
        f"{results.ratio(label, CLEAN)[0]:.3f}",
        f"{found['crps']:.4f}",
        f"{found['in90']:.1f} %",
        f"{found['interval']:.4f}",
        f"{results.told(label, 'score'):.3f}",
        f"{results.told(label, 'steps'):.0f}",
        f"{results.told(label, 'seconds'):.0f}",
    ]


def _surface(told: Mapping[str, Any]) -> list[str]:
    found = figures(sums(told, ALL))
    return [f"{found['rmse']:.4f}", f"{found['in90']:.1f} %", f"{found['crps']:.4f}"]


def _why(work: Path, runs: list[Run]) -> str:
    """Why a row has no scores."""
    told = [read_run(work, run) for run in runs]
    errors = [each["error"] for each in told if each and "error" in each]
    return f"failed: {errors[0]}" if errors else "not run"


def _run(
    options: argparse.Namespace, rotation: str, changed: Mapping[str, Any], region: str = ""
) -> Run:
    # Steps of other posteriors take up to a hundred times as long.
    return Run(
        rotation,
        DEFAULT,
        budget=options.budget,
        steps=None if "posterior" in changed else options.steps,
        overrides=changed,
        region=region,
    )


def _is_default(changed: Mapping[str, Any]) -> bool:
    """Whether what is changed is what it was."""
    known = {name: field.default for name, field in ModelConfig.model_fields.items()}
    known |= {
        name: parameter.default
        for name, parameter in inspect.signature(train).parameters.items()
        if parameter.default is not None
    }
    return all(name in known and known[name] == value for name, value in changed.items())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "scenes"
    parser.add_argument("catalogue", nargs="?", type=Path, default=default)
    parser.add_argument("--work", type=Path, help="folder kept over runs")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of training")
    parser.add_argument("--steps", type=int, help="training steps instead of a budget")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--rotations", choices=("development", "reported"), default="development")
    parser.add_argument("--simulated", type=Path, help="a region that `simulate` wrote")
    parser.add_argument("--rows", type=lambda text: tuple(text.split(",")), help="parts of names")
    parser.add_argument("--keep", action="store_true", help="results of other code count too")
    parser.add_argument("--quick", action="store_true", help="three rows, few steps")
    parser.add_argument("--tables", action="store_true", help="run nothing, print what is there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
