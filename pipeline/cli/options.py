"""The options and arguments of the command line, one by one, and those of every verb."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from terralatent.catalogs.errors import InputError

__all__ = [
    "AnyStore",
    "At",
    "Calibrate",
    "Columns",
    "Cube",
    "Date",
    "Debug",
    "Device",
    "DryRun",
    "Encoder",
    "End",
    "Extend",
    "GlobalOptions",
    "Json",
    "LatentsOrCube",
    "LogJson",
    "Model",
    "OneSensor",
    "Overviews",
    "Pixel",
    "Precision",
    "Pretrained",
    "Quiet",
    "Region",
    "RegionOrNone",
    "Release",
    "Reopen",
    "Requests",
    "ScenesFile",
    "Sensors",
    "Source",
    "Sources",
    "Start",
    "StrictPlacement",
    "Tables",
    "Variable",
    "Verbs",
    "When",
    "by_sensor",
]

Region = Annotated[
    str, typer.Option(help="minx,miny,maxx,maxy (degrees), GeoJSON, .gpkg, .shp, .kml", metavar="R")
]
RegionOrNone = Annotated[
    str | None,
    typer.Option(
        "--region",
        help="minx,miny,maxx,maxy (degrees), GeoJSON, .gpkg, .shp, .kml",
        metavar="R",
        show_default=False,
    ),
]
Source = Annotated[
    str | None, typer.Option(help="A source's name, a URL, a folder or a file.", metavar="S")
]
Tables = Annotated[
    list[Path] | None,
    typer.Option(
        "--sources",
        envvar="TERRALATENT_SOURCES",
        metavar="FILE",
        help="A TOML file that describes sources or sensors of yours; may be repeated. Those in "
        "~/.config/terralatent are known anyway.",
    ),
]
Start = Annotated[str | None, typer.Option(help="First day (or month): 2018-01-01.", metavar="D")]
End = Annotated[str | None, typer.Option(help="Last day (or month), included.", metavar="D")]
ScenesFile = Annotated[
    str | None,
    typer.Option("--scenes", help="A file of `search`; of another's, give its --source too."),
]
Sensors = Annotated[
    list[str] | None,
    typer.Option("--sensor", help="May be repeated; all that the source has by default."),
]
OneSensor = Annotated[str | None, typer.Option("--sensor", help="A sensor of the store.")]
Variable = Annotated[str | None, typer.Option(help="A band, a latent or an array.", metavar="V")]
Date = Annotated[str | None, typer.Option(help="The stored date nearest to it.", metavar="D")]
Pixel = Annotated[
    str | None, typer.Option(help="Map coordinates, or column and row.", metavar="X,Y")
]
When = Annotated[
    str,
    typer.Option(
        help="monthly, 10D, monthly:2018, acquisitions, dates with commas, or a file of dates.",
        metavar="WHEN",
    ),
]
Requests = Annotated[
    int, typer.Option(min=1, help="Requests to one host at the same time, of all workers.")
]
StrictPlacement = Annotated[
    bool,
    typer.Option(
        "--strict-placement",
        help="Mask files whose items place them elsewhere than they do themselves; by default "
        "they are read where they lie, with a warning.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show what would be read and stored, and write nothing."),
]
Extend = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="Add what this model lacks of the cubes' sensors; it stays as it is."
    ),
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="MODEL",
        help="Begin from this model's weights, and stay near them where the cubes say little.",
    ),
]
Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="First fit the model's intervals to this cube; the calibrated model is kept beside "
        "the result, as OUT.model.",
    ),
]
Precision = Annotated[str, typer.Option(help="packed (integers) or float32.")]
Overviews = Annotated[
    bool,
    typer.Option(
        "--overviews/--no-overviews", help="Make overviews of a large result, for its pictures."
    ),
]
Encoder = Annotated[
    str, typer.Option(help="float32, or bfloat16: faster on a GPU, nearly the same.")
]
Reopen = Annotated[
    bool, typer.Option("--reopen", help="Let damaged chunks of pixels be made again.")
]
Release = Annotated[
    list[str] | None,
    typer.Option(help="A tag whose result is gone and keeps nothing more; may be repeated."),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda (experimental: not measured on a GPU yet), ...")
]
Climate = Annotated[
    str, typer.Option(metavar="NAME", help="Of a drawn place, or random; temperate is Flanders.")
]
Cube = Annotated[str, typer.Argument(help="A cube: path or s3://, gs://, az:// URL.")]
Sources = Annotated[
    list[str],
    typer.Argument(metavar="CUBE...", help="Cubes, and tables of pixel series (.parquet, .csv)."),
]
Columns = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="TOML or JSON: which columns of the tables are which bands."),
]
Model = Annotated[
    str | None,
    typer.Argument(
        help="The folder of a trained model, or the name of one that comes with the package, "
        "whose default it is.",
        show_default=False,
    ),
]
LatentsOrCube = Annotated[
    str,
    typer.Argument(
        metavar="LATENTS", help="Latents or annual vectors; or a cube, which is embedded first."
    ),
]
AnyStore = Annotated[str, typer.Argument(help="A cube, latents, bands, annual vectors or a map.")]
At = Annotated[
    str | None,
    typer.Option(
        metavar="SNAPSHOT", help="An earlier state: its id, the first characters, or a tag."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of a page.")]


EVERYWHERE = "Before or after any verb"
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=EVERYWHERE),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="No progress and no information; errors, warnings and losses stay.",
        rich_help_panel=EVERYWHERE,
    ),
]
LogJson = Annotated[
    bool,
    typer.Option(
        "--log-json",
        help="Each line on standard error is a JSON object.",
        rich_help_panel=EVERYWHERE,
    ),
]


@dataclass(frozen=True)
class GlobalOptions:
    """Which of the options of every verb a command line has."""

    debug: bool = False
    """Whether an error comes with its traceback."""

    quiet: bool = False
    """Whether progress and lines of information are left out."""

    log_json: bool = False
    """Whether each line on standard error is a JSON object."""

    def given(self) -> list[str]:
        """The options as they are typed, for a command that runs others.

        >>> GlobalOptions(quiet=True).given()
        ['--quiet']
        """
        return [
            f"--{field.name.replace('_', '-')}"
            for field in fields(self)
            if getattr(self, field.name)
        ]

    @classmethod
    def take(cls, arguments: Sequence[str]) -> tuple[GlobalOptions, list[str]]:
        """Take these options out of a command line, wherever they stand before a ``--``.

        They are taken before the line is parsed, so that they also hold for what is wrong with it.

        >>> GlobalOptions.take(["build", "-q", "--out", "cube"])
        (GlobalOptions(debug=False, quiet=True, log_json=False), ['build', '--out', 'cube'])
        """
        end = arguments.index("--") if "--" in arguments else len(arguments)
        given = {_NAMES[word] for word in arguments[:end] if word in _NAMES}
        rest = [word for word in arguments[:end] if word not in _NAMES]
        return cls(**dict.fromkeys(given, True)), [*rest, *arguments[end:]]


class Verbs(TyperGroup):
    """A program whose verbs show its own options in their help."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for verb in self.commands.values():
            for option in self.params:
                shown = copy(option)
                shown.expose_value = False  # taken before: see GlobalOptions.take
                verb.params.append(shown)


_NAMES = {"--debug": "debug", "--quiet": "quiet", "-q": "quiet", "--log-json": "log_json"}


def by_sensor(what: str, given: Sequence[str], unit: str, example: str) -> dict[str, float]:
    """Read ``SENSOR=NUMBER``, as options take what is given for some sensors.

    >>> by_sensor("offset", ["sentinel-2-l2a=-0.1"], "number", "sentinel-2-l2a=0")
    {'sentinel-2-l2a': -0.1}

    Args:
        what: What the numbers are, for errors, as are the following.
        given: As typed.
        unit: What is wanted.
        example: Of an entry.

    Raises:
        InputError: If one is not the name of a sensor and a finite number.
    """
    numbers = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            numbers[name] = float(number)
        except ValueError:
            numbers[name] = math.nan
        if not math.isfinite(numbers[name]):
            raise InputError(
                f"The {what} {text!r} cannot be used; give a sensor and a {unit}, such as "
                f"{example}."
            )
    return numbers
