"""The verb that makes a table of a cube's pixels."""

from __future__ import annotations

from typing import Annotated

import typer

from terralatent.pipeline.cli import groups
from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.terminal import terminal

__all__ = ["extract"]

PLACES = "GeoJSON, .gpkg, .parquet (GeoParquet), .shp or .kml, in any CRS."


@groups.grouped
def extract(
    cube: opt.Cube,
    *,
    out: Annotated[str, typer.Option(metavar="TABLE.parquet", help="Where the table goes.")],
    points: Annotated[
        str | None, typer.Option(metavar="FILE", help=f"A pixel for each point: {PLACES}")
    ] = None,
    polygons: Annotated[
        str | None, typer.Option(metavar="FILE", help=f"All pixels of polygons: {PLACES}")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Its column that becomes `label`.")
    ] = None,
    sensor: opt.Sensors = None,
    at: opt.At = None,
    clear: groups.ClearSky,
) -> None:
    """Make a table of the series of a cube's pixels, at points or in polygons."""
    from terralatent.pipeline.tables.extract import extract

    report = extract(
        cube,
        out,
        points=points,
        polygons=polygons,
        label=label,
        sensors=sensor or None,
        masking=clear.masking(),
        at=at,
        progress=terminal.bar(),
    )
    terminal.finish(report, out)
