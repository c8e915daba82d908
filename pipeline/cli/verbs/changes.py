"""The verb that maps what moved beyond chance."""

from __future__ import annotations

from typing import Annotated

import typer

from terralatent.pipeline.cli import groups
from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.terminal import terminal

__all__ = ["changes"]


@groups.grouped
def changes(
    store: Annotated[
        str, typer.Argument(metavar="LATENTS|CUBE", help="Latents, which note both; or a cube.")
    ],
    model: opt.Model = None,
    *,
    between: Annotated[
        tuple[str, str],
        typer.Option(
            metavar="A B",
            help="Two dates; or an older and a newer run: snapshots of the latents, or latents.",
        ),
    ],
    out: Annotated[str, typer.Option(metavar="MAP", help="Where the map goes.")],
    index: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="ndvi, ndwi, ndre or evi instead of the latents."),
    ] = None,
    sensor: Annotated[
        str | None, typer.Option(help="Of whose bands the index is; Sentinel-2 by default.")
    ] = None,
    rate: Annotated[
        float, typer.Option(metavar="Q", help="Share of those marked that may be by chance.")
    ] = 0.05,
    date: Annotated[
        str | None,
        typer.Option(metavar="D", help="Of two runs: compare this day or month alone."),
    ] = None,
    overviews: opt.Overviews = True,
    device: opt.Device = "auto",
    at: opt.At = None,
    cluster: groups.Cluster,
    clear: groups.ClearSky,
) -> None:
    """Map where latents or an index moved beyond chance, between dates or between runs."""
    cluster.begin("terralatent.pipeline.changes.changes")
    from terralatent.pipeline.changes.changes import changes

    report = changes(
        store,
        model,
        between=between,
        out=out,
        index=index,
        sensor=sensor,
        rate=rate,
        date=date,
        device=device,
        at=at,
        masking=clear.masking(),
        overviews=overviews,
        progress=terminal.bar(),
        **cluster.keywords(),
    )
    terminal.finish(report, out)
