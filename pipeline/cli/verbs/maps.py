"""Verbs that map a model over a cube, and all that comes before that in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cli import fleets, groups
from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.fleets import FleetChoice
from terralatent.pipeline.cli.in_season import InSeason
from terralatent.pipeline.cli.terminal import LOSSES, terminal

if TYPE_CHECKING:
    from terralatent.pipeline.fleet.fleet import Fleet

__all__ = ["annual", "decode", "embed", "map_region"]

SMOOTHER = ("terralatent.models.posteriors.kalman.cpu",)
"""What workers compute with; numba takes a second to import."""


@groups.grouped
def map_region(
    region: opt.Region,
    out: Annotated[str, typer.Option(metavar="DIR", help="Where cube and latents go.")],
    *,
    source: opt.Source = None,
    start: opt.Start = None,
    end: opt.End = None,
    scenes: opt.ScenesFile = None,
    choice: groups.SceneChoice,
    grid: groups.Grid,
    model: Annotated[
        str | None,
        typer.Option(help="A folder, or a name; the one that comes with the package by default."),
    ] = None,
    dates: opt.When = "monthly",
    overviews: opt.Overviews = True,
    device: opt.Device = "auto",
    cluster: groups.Cluster,
    clear: groups.ClearSky,
) -> None:
    """From a region and a period to its latents in one: search, build DIR/cube, embed DIR/latents.

    The same again goes on with what is there.
    """
    from terralatent.pipeline.cli.scenes import choose_scenes
    from terralatent.pipeline.ingest.build import build_cube
    from terralatent.pipeline.mapping.embed import embed

    cube, latents = f"{out}/cube", f"{out}/latents"
    inference, masking = groups.Inference(device), clear.masking()
    given: dict[str, Any] = {"kept": scenes, "source": source, "start": start, "end": end}
    chosen = choose_scenes(region, **given, say=terminal.say, **choice.keywords())
    where = cluster.keywords()
    built = build_cube(chosen, region, cube, **grid.keywords(), **where, progress=terminal.bar())
    terminal.say_all(chosen.left_out())
    lost = terminal.done(built, cube)
    model = inference.choose_model(cube, model, latents, masking, terminal.say)
    how = {"masking": masking, "overviews": overviews, **inference.keywords(), **where}
    report = embed(cube, model, latents, dates=dates, progress=terminal.bar(), **how)
    if terminal.done(report, latents) or lost:
        raise typer.Exit(LOSSES)


@groups.grouped
def embed(
    cube: fleets.CubeOrTable = None,
    model: opt.Model = None,
    *,
    out: Annotated[
        str | None,
        typer.Option(metavar="LATENTS", help="Where they go: a store; of a table .parquet."),
    ] = None,
    dates: opt.When = "monthly",
    precision: opt.Precision = "packed",
    encoder: opt.Encoder = "float32",
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Keep filter states, so that an acquisition that came costs one step; dates "
            "before it are then stale until the same without --live.",
        ),
    ] = False,
    overviews: opt.Overviews = True,
    table: groups.TableChoice,
    cluster: groups.Cluster,
    how: groups.Inference,
    season: InSeason,
    clear: groups.ClearSky,
    tiles: FleetChoice,
) -> None:
    """Infer each pixel's latent series, mean and standard deviation, at any dates."""
    cluster.begin("terralatent.pipeline.mapping.embed", *SMOOTHER)
    from terralatent.pipeline.mapping.embed import embed

    fleet, model = _fleet_of(tiles, "embed", cube, model, out, how)
    if fleet is not None:
        season.refuse_fleet()
        if any(table.keywords().values()):
            raise InputError("--columns, --sensor and --wide are for tables; leave --fleet out.")
        if live:
            raise InputError("--live is for the latents of one cube; leave it or --fleet out.")
        made = fleet.embed(
            model, dates=dates, precision=precision, encoder=encoder, overviews=overviews,
            masking=clear.masking(), device=how.device, at_once=tiles.at_once,
            **cluster.keywords(), progress=terminal.bar(),
        )  # fmt: skip
        terminal.finish(made, str(fleet.path))
        return
    assert cube is not None
    assert out is not None
    known = season.keywords(how)
    model = how.choose_model(cube, model, out, clear.masking(), terminal.say)
    more = {"masking": clear.masking(), **how.keywords(), **known, **cluster.keywords()}
    kept: dict[str, Any] = {"dates": dates, "precision": precision, "encoder": encoder}
    kept |= {"overviews": overviews, "live": live}
    kept |= table.keywords()
    report = embed(cube, model, out, **kept, progress=terminal.bar(), **more)
    terminal.finish(report, out)


@groups.grouped
def decode(
    cube: opt.Cube,
    model: opt.Model = None,
    *,
    sensor: Annotated[str, typer.Option(help="A sensor of the model.")],
    dates: opt.When,
    out: Annotated[str, typer.Option(metavar="STORE", help="Where the bands go.")],
    overviews: opt.Overviews = True,
    cluster: groups.Cluster,
    how: groups.Inference,
    season: InSeason,
    clear: groups.ClearSky,
) -> None:
    """Predict a sensor's bands at any dates: surface, uncertainty, and a new observation."""
    cluster.begin("terralatent.pipeline.mapping.decode", *SMOOTHER)
    from terralatent.pipeline.mapping.decode import decode

    known = season.keywords(how)
    model = how.choose_model(cube, model, out, clear.masking(), terminal.say)
    more = {"masking": clear.masking(), **how.keywords(), **known, **cluster.keywords()}
    more["overviews"] = overviews
    report = decode(cube, model, sensor, dates, out, progress=terminal.bar(), **more)
    terminal.finish(report, out)


@groups.grouped
def annual(
    cube: fleets.Cube = None,
    model: opt.Model = None,
    *,
    out: Annotated[str | None, typer.Option(metavar="STORE", help="Where the vectors go.")] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIRST/LAST",
            help="One year, such as 2018-10-01/2019-09-30, or 2018; may be repeated. All years of "
            "the calendar by default.",
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(metavar="month|year", help="Further windows, which begin so far apart."),
    ] = None,
    components: Annotated[
        int | None, typer.Option(metavar="K", help="Numbers a pixel and window; 64 by default.")
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="int8|int16|float32", help="How each number is kept.")
    ] = "int8",
    encoder: opt.Encoder = "float32",
    overviews: opt.Overviews = True,
    cluster: groups.Cluster,
    how: groups.Inference,
    season: InSeason,
    clear: groups.ClearSky,
    tiles: FleetChoice,
) -> None:
    """Reduce a year of each pixel to one vector, with the standard deviation of each number."""
    cluster.begin("terralatent.pipeline.embeddings.annual", *SMOOTHER)
    from terralatent.pipeline.embeddings.annual import COMPONENTS, annual

    fleet, model = _fleet_of(tiles, "annual", cube, model, out, how)
    if fleet is not None:
        season.refuse_fleet()
        made = fleet.annual(
            model, window=window, every=every, components=components or COMPONENTS,
            precision=precision, encoder=encoder, overviews=overviews, masking=clear.masking(),
            device=how.device, at_once=tiles.at_once, **cluster.keywords(),
            progress=terminal.bar(),
        )  # fmt: skip
        terminal.finish(made, str(fleet.path))
        return
    assert cube is not None
    assert out is not None
    known = season.keywords(how)
    model = how.choose_model(cube, model, out, clear.masking(), terminal.say)
    more = {"masking": clear.masking(), **how.keywords(), **known, **cluster.keywords()}
    chosen: dict[str, Any] = {"window": window, "every": every, "precision": precision}
    chosen |= {"components": components or COMPONENTS, "encoder": encoder, "overviews": overviews}
    terminal.finish(annual(cube, model, out, **chosen, progress=terminal.bar(), **more), out)


def _fleet_of(
    tiles: FleetChoice,
    verb: str,
    cube: str | None,
    model: str | None,
    out: str | None,
    how: groups.Inference,
) -> tuple[Fleet | None, str | None]:
    """The fleet that is meant, if one is, and the model, which is then the first argument.

    Raises:
        InputError: If both or neither are given, or what a fleet does not take.
    """
    both = cube if tiles.fleet is None or model is not None or _is_store(cube) else None
    fleet = tiles.open(verb, {"CUBE": both, "--out": out})
    if fleet is None:
        return None, model
    if how.calibrate or how.at is not None:
        raise InputError("--calibrate and --at are for one cube; leave --fleet out.")
    return fleet, cube


def _is_store(named: str | None) -> bool:
    from terralatent.pipeline.store.repository import Store

    return named is not None and Store.of(named).exists()
