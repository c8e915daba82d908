"""A model of one half of the period on the other half: as it is, calibrated, and trained further.

    python -m benchmarks.gapfill.adapted [CATALOGUE] --work DIR [--steps N] [--tuned N]
                                         [--prior W,W]

It is trained on all acquisitions before 2018-04-01. Of those after it the cube of each development
rotation lacks the hidden ones, which are predicted and scored: settings are chosen on these, no
reported rotation is scored. ``--tuned`` also trains it further on these cubes, once with each
weight of the prior.

Exit code 1 where there are no scenes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.gapfill.cubes import PixelObservations, build_part, prepare
from benchmarks.gapfill.holdouts import Rotation, development
from benchmarks.gapfill.predict import predict
from benchmarks.gapfill.scoring import value_scores
from terralatent.pipeline.training.adapting import pretrained
from terralatent.pipeline.training.adapting.calibrate import calibrate_model
from terralatent.pipeline.training.train import train

CUT = np.datetime64("2018-04-01", "us")

COLUMNS = ("RMSE", "90 % intervals hold", "50 % intervals hold", "width of 90 %", "NLL")


def main() -> int:
    """Train, calibrate, predict, and print a table."""
    options = _parser().parse_args()
    if not options.catalogue.exists():
        print(f"NOT MEASURED: there are no scenes at {options.catalogue}", file=sys.stderr)
        return 1
    work = options.work
    observations = prepare(options.catalogue, work)
    early = build_part(options.catalogue, work, "early", lambda time: time < CUT)
    model = work / "models" / "early"
    train([early], model, steps=options.steps)
    print(f"| rotation | model | {' | '.join(COLUMNS)} |\n{'|---' * (2 + len(COLUMNS))}|")
    for rotation in development(observations.days, observations.share):
        late = build_part(
            options.catalogue, work, f"late-{rotation.name}", _kept(observations, rotation)
        )
        for name, adapted in _adapt(late, model, work / "models", rotation, options).items():
            figures = _score(late, adapted, observations, rotation)
            print(f"| {rotation.name} | {name} | {' | '.join(figures)} |", flush=True)
    return 0


def _kept(observations: PixelObservations, rotation: Rotation) -> Callable[[Any], bool]:
    """Which times the cube of a rotation has: those after the cut that are not hidden."""
    hidden = observations.times[list(rotation.hidden)]
    return lambda time: (
        bool(time >= CUT) and not bool((np.abs(hidden - time) < np.timedelta64(10, "m")).any())
    )


def _adapt(
    cube: Path, model: Path, models: Path, rotation: Rotation, options: argparse.Namespace
) -> dict[str, Path]:
    """The model as it is and in every way adapted, by name."""
    calibrated = models / f"calibrated-{rotation.name}"
    shutil.rmtree(calibrated, ignore_errors=True)
    calibrate_model(cube, model, calibrated)
    adapted = {"as it is": model, "calibrated": calibrated}
    for prior in options.prior if options.tuned else ():
        out = models / f"tuned-{prior:g}-{rotation.name}"
        shutil.rmtree(out, ignore_errors=True)
        with patch.object(pretrained, "PRIOR", prior):
            train([cube], out, pretrained=model, steps=options.tuned)
        adapted[f"trained further, prior {prior:g}"] = out
    return adapted


def _score(
    cube: Path, model: Path, observations: PixelObservations, rotation: Rotation
) -> list[str]:
    """Figures over all clear values that are hidden after the cut, as :data:`COLUMNS`."""
    scored = [at for at in rotation.scored if observations.times[at] >= CUT]
    predicted, _ = predict(cube, model, observations, observations.times[scored])
    pixel, time = np.nonzero(observations.clear[:, scored])
    scores = value_scores(predicted, observations.values[:, scored], pixel, time)
    return [
        f"{np.sqrt(scores['square'].mean()):.4f}",
        f"{100 * scores['in90'].mean():.1f} %",
        f"{100 * scores['in50'].mean():.1f} %",
        f"{scores['width90'].mean():.4f}",
        f"{scores['nll'].mean():.3f}",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "scenes"
    parser.add_argument("catalogue", nargs="?", type=Path, default=default)
    parser.add_argument("--work", type=Path, required=True, help="folder kept over runs")
    parser.add_argument("--steps", type=int, default=240, help="of the training before the cut")
    parser.add_argument("--tuned", type=int, default=0, help="steps of the training after it")
    parser.add_argument(
        "--prior",
        type=lambda text: tuple(float(weight) for weight in text.split(",")),
        default=(pretrained.PRIOR,),
        help="weights of its prior",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
