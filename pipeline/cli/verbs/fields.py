"""The verb that makes a table of means of fields."""

from __future__ import annotations

from typing import Annotated

import typer

from terralatent.pipeline.cli import groups
from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.terminal import terminal

__all__ = ["fields"]


@groups.grouped
def fields(
    cube: opt.Cube,
    polygons: Annotated[
        str,
        typer.Argument(
            metavar="FIELDS",
            help="Polygons in any CRS: GeoJSON, .gpkg, .parquet (GeoParquet), .shp or .kml.",
        ),
    ],
    *,
    sensor: Annotated[str, typer.Option(help="A sensor of the model.")],
    out: Annotated[
        str,
        typer.Option(metavar="TABLE", help="Where the means go: .parquet, a row each; or .nc."),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="A folder, or a name; the one that comes with the package by default."),
    ] = None,
    dates: opt.When = "monthly",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="All polygons with one value of it are one field, such as crop."
        ),
    ] = None,
    cluster: groups.Cluster,
    how: groups.Inference,
    clear: groups.ClearSky,
) -> None:
    """Predict means of fields at any dates, with an uncertainty that knows what pixels share."""
    cluster.begin("terralatent.pipeline.fields.means")
    from terralatent.pipeline.fields.means import FieldReport, field_means

    means = field_means(
        cube,
        how.choose_model(cube, model, out, clear.masking(), terminal.say),
        sensor,
        dates,
        polygons,
        by=by,
        out=out,
        masking=clear.masking(),
        progress=terminal.bar(),
        **how.keywords(),
        **cluster.keywords(),
    )
    terminal.finish(FieldReport.of(means), out)
