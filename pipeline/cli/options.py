"""The options and arguments that several verbs of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from terralatent.models.families import DEFAULT, LEARNED, UNLEARNED

__all__ = [
    "AnyStore",
    "At",
    "BlockSide",
    "ClearRules",
    "Cluster",
    "Crs",
    "Cube",
    "Date",
    "Described",
    "Device",
    "Dilate",
    "DryRun",
    "End",
    "Extend",
    "Family",
    "Json",
    "Kernel",
    "Latents",
    "Mask",
    "Memory",
    "Metres",
    "Model",
    "Offsets",
    "OneSensor",
    "OtherChoices",
    "Outliers",
    "Pixel",
    "Posterior",
    "PosteriorSize",
    "Region",
    "Requests",
    "ScenesFile",
    "Sensors",
    "Source",
    "Start",
    "StoreOrModel",
    "Variable",
    "When",
    "Workers",
]

Region = Annotated[
    str, typer.Option(help="minx,miny,maxx,maxy in degrees, or a GeoJSON file.", metavar="R")
]
Source = Annotated[
    str | None, typer.Option(help="A source's name, a URL, a folder or a file.", metavar="S")
]
Described = Annotated[
    list[Path] | None,
    typer.Option(
        "--sources",
        envvar="TERRALATENT_SOURCES",
        metavar="FILE",
        help="A TOML file that describes sources or sensors of yours; may be repeated. Those in "
        "~/.config/terralatent are known anyway.",
    ),
]
Offsets = Annotated[
    list[str] | None,
    typer.Option(
        "--offset",
        metavar="SENSOR=NUMBER",
        help="The offset, in units, of items that do not tell theirs; may be repeated.",
    ),
]
Start = Annotated[str | None, typer.Option(help="First day, such as 2018-01-01.", metavar="D")]
End = Annotated[str | None, typer.Option(help="Last day, included.", metavar="D")]
Sensors = Annotated[
    list[str] | None,
    typer.Option("--sensor", help="May be repeated; all that the source has by default."),
]
Mask = Annotated[
    str | None,
    typer.Option(metavar="ASSET", help="Take this mask band of a sensor instead of its best."),
]
OneSensor = Annotated[str | None, typer.Option("--sensor", help="A sensor of the store.")]
Variable = Annotated[str | None, typer.Option(help="A band, a latent or an array.", metavar="V")]
Date = Annotated[str | None, typer.Option(help="The stored date nearest to it.", metavar="D")]
When = Annotated[
    str,
    typer.Option(
        help="monthly, 10D, acquisitions, dates with commas, or a file of dates.", metavar="WHEN"
    ),
]
Cluster = Annotated[
    str,
    typer.Option(
        "--client",
        metavar="WHERE",
        help="local; slurm, kubernetes, gateway or cuda, as Dask's configuration files say; or a "
        "scheduler's address, tcp://host:port.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Worker processes to start; by default one a core or GPU of this machine, or what "
        "Dask's configuration of a cluster says.",
    ),
]
PRIOR = "The prior of the latent series"
Extend = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="Add what this model lacks of the cubes' sensors; it stays as it is."
    ),
]
Family = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help=f"{DEFAULT} (the default); to compare with it: {', '.join(LEARNED[1:])}, and "
        f"{', '.join(UNLEARNED)}, which take no steps.",
    ),
]
Latents = Annotated[
    int | None,
    typer.Option(min=1, help="Latent series a pixel; 16 by default.", rich_help_panel=PRIOR),
]
Kernel = Annotated[
    str | None,
    typer.Option(
        metavar="K", help="Kernel over time; constant+matern12 by default.", rich_help_panel=PRIOR
    ),
]
Posterior = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How it is inferred: markov (the default), exact, inducing, banded, hilbert, vecchia.",
        rich_help_panel=PRIOR,
    ),
]
OtherChoices = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any other choice of the model, such as refinements=0; may be repeated.",
        metavar="NAME=VALUE",
    ),
]
PosteriorSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Inducing points, basis functions or neighbours, where it has any.",
        rich_help_panel=PRIOR,
    ),
]
MASK = "What counts as clear (as the model was trained, by default)"
Dilate = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Widen clouds and shadows by so many pixels.", rich_help_panel=MASK
    ),
]
Outliers = Annotated[
    bool | None,
    typer.Option(
        "--outliers/--no-outliers",
        help="Mask looks that no neighbour in time supports.",
        rich_help_panel=MASK,
    ),
]
ClearRules = Annotated[
    list[str] | None,
    typer.Option(
        "--clear-rule",
        metavar="[SENSOR=]RULE",
        help="Which values of the mask band are clear: a function, module:function; a rule as "
        "JSON; or stored, the cube's own. May be repeated.",
        rich_help_panel=MASK,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
Cube = Annotated[str, typer.Argument(help="A cube: path or s3://, gs://, az:// URL.")]
Model = Annotated[str, typer.Argument(help="The folder of a trained model.")]
Metres = Annotated[float, typer.Option("--resolution", help="Pixel size in metres.")]
Crs = Annotated[str | None, typer.Option(help="EPSG:N; the UTM zone by default.")]
BlockSide = Annotated[int, typer.Option("--block", help="Pixels along a side of a block.")]
Requests = Annotated[
    int, typer.Option(min=1, help="Requests to one host at the same time, of all workers.")
]
Memory = Annotated[str, typer.Option(help="Of one worker process.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Tell what would be read and stored, and write nothing."),
]
ScenesFile = Annotated[
    str | None, typer.Option("--scenes", help="Instead of a source: a file of `search`.")
]
Pixel = Annotated[
    str | None, typer.Option(help="Map coordinates, or column and row.", metavar="X,Y")
]
AnyStore = Annotated[str, typer.Argument(help="A cube, latents or decoded bands.")]
StoreOrModel = Annotated[
    str, typer.Argument(metavar="STORE", help="A cube, latents, bands or the folder of a model.")
]
At = Annotated[
    str | None,
    typer.Option(
        metavar="SNAPSHOT", help="An earlier state: its id, the first characters, or a tag."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of a page.")]
