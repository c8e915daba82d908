"""The verb that plans a fleet."""

from __future__ import annotations

from typing import Annotated, cast

import typer
from typer.core import TyperCommand, TyperGroup

from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.arguments import options_of
from terralatent.pipeline.cli.terminal import terminal

__all__ = ["fleet"]

fleet = typer.Typer(
    name="fleet",
    help="Part a large region into tiles, each with a cube and results of its own.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@fleet.callback()
def _options(context: typer.Context) -> None:
    verbs = cast("TyperGroup", context.command).commands
    if context.invoked_subcommand is not None:
        terminal.speak_of(options_of(cast("TyperCommand", verbs[context.invoked_subcommand])))


@fleet.command()
def plan(
    region: opt.Region,
    grid: Annotated[
        str,
        typer.Option(
            metavar="mgrs|utm-50km|FILE",
            help="Squares of 100 km called as Sentinel-2's tiles are; squares of 50 km; or a file "
            "of polygons, each a tile.",
        ),
    ],
    out: Annotated[str, typer.Option(metavar="fleet.parquet", help="Where the plan goes.")],
    folder: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where results go; beside the plan by default. Or a URL."),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            metavar="C",
            help="Of a file: what tiles are called; `tile`, `id` or `name` by default.",
        ),
    ] = None,
    clip: Annotated[
        bool,
        typer.Option("--clip", help="Of each tile only what lies in the region; else all of it."),
    ] = False,
    resolution: Annotated[float, typer.Option(help="Pixel size in metres.")] = 10.0,
    start: opt.Start = None,
    end: opt.End = None,
    sensor: opt.Sensors = None,
) -> None:
    """Part a region into tiles; keep them as GeoParquet."""
    from terralatent.pipeline.fleet.fleet import Fleet

    made = Fleet.plan(
        region, grid, out, folder=folder, column=column, clip=clip, resolution=resolution,
        start=start, end=end, sensors=sensor or (),
    )  # fmt: skip
    pixels = sum(tile.shape[0] * tile.shape[1] for tile in made.tiles)
    terminal.say(f"{made}, {pixels:,} pixels")
