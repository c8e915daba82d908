"""Verbs of models: how one learns, and how its intervals fit a place."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from terralatent.pipeline.cli import groups
from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.labelling import Labelling
from terralatent.pipeline.cli.terminal import terminal

__all__ = ["calibrate", "train"]


@groups.grouped
def train(
    cubes: opt.Sources,
    out: Annotated[str, typer.Option(metavar="MODEL", help="The folder of the model.")],
    *,
    extend: opt.Extend = None,
    pretrained: opt.Pretrained = None,
    sampling: groups.Sampling,
    labelling: Labelling,
    choices: groups.ModelChoices,
    steps: Annotated[int | None, typer.Option(min=0, help="At most so many steps.")] = None,
    seed: int = 0,
    device: opt.Device = "auto",
    sensor: opt.Sensors = None,
    clear: groups.ClearSky,
) -> None:
    """Train a model on pixel series of one or more cubes, or go on from a trained one."""
    from terralatent.pipeline.training.train import train

    given: dict[str, Any] = {} if steps is None else {"steps": steps}
    report = train(
        cubes,
        out,
        extend=extend,
        pretrained=pretrained,
        seed=seed,
        device=device,
        sensors=sensor or None,
        supervision=labelling.supervision(),
        masking=clear.masking(),
        progress=terminal.bar(),
        **vars(sampling),
        **given,
        **choices.keywords(),
    )
    terminal.finish(report, out)


@groups.grouped
def calibrate(
    cube: opt.Cube,
    model: opt.Model = None,
    *,
    out: Annotated[str, typer.Option(metavar="MODEL", help="Where the calibrated model goes.")],
    seed: int = 0,
    clear: groups.ClearSky,
    at: opt.At = None,
) -> None:
    """Fit a model's intervals to a cube that it was not trained on; no mean is moved."""
    from terralatent.pipeline.training.adapting.calibrate import calibrate_model

    report = calibrate_model(cube, model, out, seed=seed, masking=clear.masking(), at=at)
    terminal.finish(report, out)
