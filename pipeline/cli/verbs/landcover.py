"""Verbs that map what labels show, from latents or a cube."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cli import fleets
from terralatent.pipeline.cli import options as opt
from terralatent.pipeline.cli.fleets import PANEL, FleetChoice
from terralatent.pipeline.cli.groups import Cluster, grouped
from terralatent.pipeline.cli.terminal import terminal

__all__ = ["classify", "regress"]


@dataclass(frozen=True)
class LabelChoice:
    """Which labels a map is learnt from, and how cross-validation parts them."""

    labels: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Polygons or points in any CRS: .geojson, .parquet, .gpkg, .shp, .kml.",
        ),
    ]
    column: Annotated[str, typer.Option(metavar="C", help="Of the labels: what is mapped.")]
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="VALUE", help="A value that means none; may be repeated."),
    ] = None
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Labels with equal values are hidden together; else each alone."
        ),
    ] = None
    square: Annotated[
        float | None,
        typer.Option(metavar="METRES", help="Or labels in one square of this side are."),
    ] = None
    with_std: Annotated[
        bool,
        typer.Option("--with-std", help="Learn from standard deviations beside the means."),
    ] = False
    seed: Annotated[int, typer.Option(help="Of folds and of what is drawn.")] = 0
    at: opt.At = None

    def keywords(self) -> dict[str, Any]:
        """As :func:`~terralatent.pipeline.landcover.classify.classify` and others take them."""
        return {
            "labels": self.labels,
            "column": self.column,
            "ignore": self.ignore or (),
            "group": self.group,
            "square": self.square,
            "with_std": self.with_std,
            "seed": self.seed,
            "at": self.at,
        }


@dataclass(frozen=True)
class MapFiles:
    """Files that are written beside a map."""

    cog: Annotated[
        str | None,
        typer.Option(metavar="FILE.tif", help="Write cloud-optimised GeoTIFFs as well."),
    ] = None
    report: Annotated[
        str | None,
        typer.Option(metavar="FILE.json", help="By default OUT.report.json beside a local map."),
    ] = None


@dataclass(frozen=True)
class FleetMaps:
    """What of a fleet's tiles is mapped, and what the maps are called."""

    of: Annotated[
        str,
        typer.Option(
            metavar="latents|annual", help="What of each tile is mapped.", rich_help_panel=PANEL
        ),
    ] = "latents"
    name: Annotated[
        str, typer.Option(help="Of the maps, each in its tile's folder.", rich_help_panel=PANEL)
    ] = "landcover"


@grouped
def classify(
    latents: fleets.LatentsOrCube = None,
    *,
    choice: LabelChoice,
    out: Annotated[str | None, typer.Option(metavar="MAP", help="Where the map goes.")] = None,
    classifier: Annotated[
        str, typer.Option(metavar="NAME", help="lda, logit, rf, svm, knn, or module:attribute.")
    ] = "lda",
    color: Annotated[
        list[str] | None, typer.Option(metavar="CLASS=COLOUR", help="Of a class, as #2ca02c.")
    ] = None,
    design: Annotated[
        str | None,
        typer.Option(metavar="stratified", help="Labels are a random sample within strata."),
    ] = None,
    strata: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of the labels: from which stratum.")
    ] = None,
    drawn_from: Annotated[
        str | None, typer.Option(metavar="MAP", help="The map whose classes are the strata.")
    ] = None,
    overviews: opt.Overviews = True,
    files: MapFiles,
    cluster: Cluster,
    tiles: FleetChoice,
    maps: FleetMaps,
) -> None:
    """Map the classes of a few labels, with probabilities, scores and areas."""
    cluster.begin("terralatent.pipeline.landcover.classify")
    from terralatent.pipeline.cli.pages.landcover import landcover_page, parse_colours
    from terralatent.pipeline.landcover.classify import classify

    fleet = tiles.open("classify", {"LATENTS": latents, "--out": out})
    if fleet is not None:
        if any((design, strata, drawn_from, choice.at, *vars(files).values())):
            raise InputError(
                "--design, --strata, --drawn-from, --at, --cog and --report are for one map; leave "
                "--fleet out."
            )
        named = {key: value for key, value in choice.keywords().items() if key != "at"}
        made = fleet.classify(
            **named,
            latents=maps.of,
            name=maps.name,
            classifier=classifier,
            colours=parse_colours(color or ()),
            overviews=overviews,
            at_once=tiles.at_once,
            **cluster.keywords(),
            progress=terminal.bar(),
        )
        terminal.show(landcover_page(made))
        terminal.finish(made, str(fleet.path))
        return
    assert latents is not None
    assert out is not None
    more: dict[str, Any] = {**choice.keywords(), **cluster.keywords(), **vars(files)}
    more["overviews"] = overviews
    sample: dict[str, Any] = {"design": design, "strata": strata, "drawn_from": drawn_from}
    report = classify(
        latents,
        out=out,
        classifier=classifier,
        colours=parse_colours(color or ()),
        progress=terminal.bar(),
        **sample,
        **more,
    )
    terminal.show(landcover_page(report))
    terminal.finish(report, out)


@grouped
def regress(
    latents: opt.LatentsOrCube,
    *,
    choice: LabelChoice,
    out: Annotated[str, typer.Option(metavar="MAP", help="Where the map goes.")],
    regressor: Annotated[
        str, typer.Option(metavar="NAME", help="ridge, rf, svm, knn, or module:attribute.")
    ] = "ridge",
    overviews: opt.Overviews = True,
    files: MapFiles,
    cluster: Cluster,
) -> None:
    """Map a number of a few labels, with its error."""
    cluster.begin("terralatent.pipeline.landcover.regress")
    from terralatent.pipeline.cli.pages.landcover import landcover_page
    from terralatent.pipeline.landcover.regress import regress

    more: dict[str, Any] = {**choice.keywords(), **cluster.keywords(), **vars(files)}
    more["overviews"] = overviews
    report = regress(latents, out=out, regressor=regressor, progress=terminal.bar(), **more)
    terminal.show(landcover_page(report))
    terminal.finish(report, out)
