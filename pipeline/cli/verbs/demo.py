"""The verb that shows all others from nothing."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.terminal import terminal

__all__ = ["demo"]


def demo(
    out: Annotated[str, typer.Option(metavar="DIR", help="Where everything goes.")] = "demo",
    size: Annotated[int, typer.Option(help="Pixels of 10 m along the region.")] = 128,
    seed: Annotated[int, typer.Option(help="Of the simulated region and the training.")] = 0,
) -> None:
    """Show the main job from nothing: a simulated region, the commands to its maps, and scores."""
    from terralatent.pipeline.cli.demo import StoppedError, demo

    try:
        report = demo(
            out,
            size=size,
            seed=seed,
            announce=terminal.announce,
            options=opt.GlobalOptions.take(sys.argv[1:])[0].given(),
        )
    except StoppedError as stopped:
        raise typer.Exit(stopped.code) from stopped
    terminal.show(report.page())
