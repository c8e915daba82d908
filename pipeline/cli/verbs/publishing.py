"""The verb that publishes a store as a STAC catalogue."""

from __future__ import annotations

from typing import Annotated

import typer

from terralatent.pipeline.cli import fleets
from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.fleets import PANEL, FleetFile, open_fleet
from terralatent.pipeline.cli.terminal import terminal

__all__ = ["publish"]


def publish(
    store: fleets.AnyStore = None,
    *,
    out: Annotated[str, typer.Option(metavar="CATALOG", help="Folder of the catalogue.")],
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="SPDX",
            help="Such as CC-BY-4.0, or `proprietary`; must be given the first time.",
        ),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help="Who publishes; may be repeated."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the collection.")] = None,
    description: Annotated[str | None, typer.Option(help="Of the collection.")] = None,
    keyword: Annotated[
        list[str] | None, typer.Option(help="Of the collection; may be repeated.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Of the collection; the store's name by default."),
    ] = None,
    copy: Annotated[
        str | None,
        typer.Option(
            metavar="zarr", help="Copy the data into the catalogue instead of linking to the store."
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Where the catalogue will be served.", metavar="URL")
    ] = None,
    cube: Annotated[
        str | None, typer.Option(help="The cube of the store, where it was moved.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model of the store, where it was moved.")
    ] = None,
    at: opt.At = None,
    fleet: FleetFile = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="cube|latents|annual|landcover",
            help="What of each tile; may be repeated. All results by default.",
            rich_help_panel=PANEL,
        ),
    ] = None,
) -> None:
    """Publish a store as a STAC catalogue: collection, items, model, provenance.

    The same again changes nothing; a newer state of the store takes the place of the one before.
    """
    from terralatent.pipeline.publication.publish import publish

    of_one = {"STORE": store} if fleet is None else {"STORE": store, "--cube": cube}
    tiles = open_fleet(fleet, "publish", of_one)
    if tiles is not None:
        made = tiles.publish(
            out,
            kinds=kind or (),
            licence=licence,
            providers=provider or (),
            title=title,
            description=description,
            keywords=keyword or (),
            name=name,
            model=model,
            copy=copy,
            url=url,
            progress=terminal.bar(),
        )
        terminal.finish(made, f"{out}/catalog.json")
        return
    assert store is not None
    done = publish(
        store,
        out,
        licence=licence,
        providers=provider or (),
        title=title,
        description=description,
        keywords=keyword or (),
        name=name,
        copy=copy,
        url=url,
        cube=cube,
        model=model,
        at=at,
        progress=terminal.bar(),
    )
    terminal.say(f"{done} -> {done.catalogue}")
