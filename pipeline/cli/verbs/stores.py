"""Verbs of what is stored: pictures and copies, what it holds, and whether it is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cli import fleets
from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.fleets import PANEL, FleetFile, open_fleet
from terralatent.pipeline.cli.groups import Cluster, grouped
from terralatent.pipeline.cli.terminal import LOSSES, terminal

if TYPE_CHECKING:
    from terralatent.pipeline.fleet.fleet import Fleet

__all__ = ["check", "expire", "export", "overviews", "show", "status", "view"]


def show(
    store: opt.AnyStore,
    out: Annotated[
        str,
        typer.Option(
            metavar="picture.png", help="A season in motion, where it ends in .gif or .mp4."
        ),
    ],
    sensor: opt.OneSensor = None,
    variable: Annotated[
        str | None,
        typer.Option(
            help="A band, an index (ndvi, ndwi, ndre, evi), a latent or an array.", metavar="V"
        ),
    ] = None,
    date: opt.Date = None,
    pixel: opt.Pixel = None,
    level: Annotated[
        int | None,
        typer.Option(min=0, help="Of the overviews; by default what the picture has room for."),
    ] = None,
    at: opt.At = None,
) -> None:
    """Draw a picture of a store, of the series of one of its pixels, or of its season."""
    import dask
    from dask.threaded import get

    from terralatent.pipeline.pictures.show import show

    dask.config.set(scheduler=get)  # a name alone makes Dask import distributed
    chosen = {"sensor": sensor, "variable": variable, "date": date, "pixel": pixel}
    show(store, out, **chosen, level=level, at=at)
    terminal.say(f"-> {out}")


@grouped
def overviews(
    store: Annotated[str, typer.Argument(help="Latents, decoded bands or a map, all done.")],
    *,
    cluster: Cluster,
) -> None:
    """Make the overviews that a store lacks, for pictures of large regions."""
    cluster.begin("terralatent.pipeline.overviews.make")
    from terralatent.pipeline.overviews.make import make_overviews

    terminal.finish(make_overviews(store, **cluster.keywords(), progress=terminal.bar()), store)


def export(
    store: opt.AnyStore,
    out: Annotated[str, typer.Option(metavar="OUT", help="FOLDER.zarr, FILE.nc, or a folder.")],
    format: Annotated[
        str | None, typer.Option(help="zarr, cog or netcdf; else as OUT ends.", metavar="F")
    ] = None,
    sensor: opt.OneSensor = None,
    variable: opt.Variable = None,
    date: opt.Date = None,
    files: Annotated[
        str | None,
        typer.Option(
            help="Of COGs: each a date, or a dimension (latent, band).", metavar="date|dimension"
        ),
    ] = None,
    shards: Annotated[
        str | None,
        typer.Option(help="Of Zarr: yes, or no: each chunk is a file.", metavar="yes|no"),
    ] = None,
    zarr_format: Annotated[
        int | None, typer.Option(help="3, or 2 for readers of old.", metavar="3|2")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of Zarr: packed (integers) or float32.")
    ] = None,
    at: opt.At = None,
) -> None:
    """Copy a store, or a part of it, as plain Zarr, COGs or netCDF."""
    from terralatent.pipeline.export.formats import export

    if shards not in (None, "yes", "no"):
        raise InputError(f"--shards is yes or no, not {shards!r}.")
    export(
        store, out, format=format, sensor=sensor, variable=variable, date=date, files=files,
        shards=None if shards is None else shards == "yes", zarr_format=zarr_format,
        precision=precision, at=at, progress=terminal.bar(),
    )  # fmt: skip
    terminal.say(f"-> {out}")


def status(
    store: fleets.StoreOrModel = None,
    json: opt.Json = False,
    history: Annotated[bool, typer.Option("--history", help="List its earlier states.")] = False,
    at: opt.At = None,
    fleet: FleetFile = None,
    picture: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.png", help="Draw its tiles on a map as well.", rich_help_panel=PANEL
        ),
    ] = None,
) -> None:
    """Show what a store, a model or a fleet holds, what is missing, and how far a run on it is."""
    tiles = open_fleet(fleet, "status", {"STORE": store})
    if tiles is not None:
        if history or at is not None:
            raise InputError("--history and --at are for one store; leave --fleet out.")
        _show_fleet(tiles, json, picture)
        return
    if picture is not None:
        raise InputError("--picture is for a fleet; `terralatent show` draws a store.")
    assert store is not None
    from terralatent.pipeline.cli.pages.status import history_page, status_page
    from terralatent.pipeline.info.status import status
    from terralatent.pipeline.store.history import history as history_of

    if history:
        states = history_of(store)
        terminal.show(
            {"snapshots": [s.to_json() for s in states]} if json else history_page(states)
        )
        return
    report = status(store, at=at)
    terminal.show(report.to_json() if json else status_page(report))


def _show_fleet(fleet: Fleet, json: bool, picture: str | None) -> None:
    """Show how a fleet stands, and draw it where that is wanted."""
    found = fleet.status()
    if json:
        terminal.show(found.to_json())
    else:
        from terralatent.pipeline.cli.pages.fleet import fleet_page

        terminal.show(fleet_page(found))
    if picture is not None:
        from terralatent.pipeline.fleet.picture import save_picture  # matplotlib takes a second

        save_picture(found, picture)
        terminal.say(f"-> {picture}")


def check(
    store: opt.AnyStore,
    reopen: opt.Reopen = False,
    json: opt.Json = False,
    at: opt.At = None,
) -> None:
    """Read a store whole, and name what is damaged or missing."""
    from terralatent.pipeline.cli.pages.check import check_page
    from terralatent.pipeline.cube.reopening import reopen as reopen_chunks
    from terralatent.pipeline.store.integrity import check_store

    if reopen and at is not None:
        raise InputError("--reopen is for the newest state of a store; leave --at out.")
    found = check_store(store, at=at, progress=terminal.bar())
    opened = reopen_chunks(store, found.damaged) if reopen else None
    if json:
        terminal.show(found.to_json() | {"reopened": [str(damage) for damage in opened or ()]})
    else:
        terminal.show(check_page(found, opened))
    if found.damaged:
        raise typer.Exit(LOSSES)


def expire(
    store: opt.AnyStore,
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Such as 30D or 12h.")],
    release: opt.Release = None,
) -> None:
    """Let go of old states of a store, and of what no state needs. The newest one stays."""
    from terralatent.pipeline.store.history import expire

    terminal.say(f"{expire(store, older_than, release=release or ())} -> {store}")


def view(
    store: opt.AnyStore,
    cube: Annotated[
        str | None,
        typer.Option(help="That it was made from; where it notes it by default.", metavar="CUBE"),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Of latents, which decodes them; the one they name.", metavar="MODEL"),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="On this machine; 0 is one that is free.")
    ] = 0,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="At which a proxy has the page; may be repeated."),
    ] = None,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the address, and open no browser.")
    ] = False,
) -> None:
    """Explore a store in a browser: a map with layers and dates, series, classes from polygons."""
    from terralatent.pipeline.explorer.view import view_in_browser

    view_in_browser(
        store, cube=cube, model=model, port=port, origins=origin or (), browse=not no_open,
        say=terminal.show,
    )  # fmt: skip
