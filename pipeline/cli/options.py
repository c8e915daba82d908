"""The options and arguments of the command line: of a verb, of several, and of every verb.

Those that verbs share go by groups: a frozen dataclass whose fields are options, see
:func:`grouped`, and whose method gives what the function behind the verb takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from terralatent.pipeline.cube.masking import MaskingRequest

from terralatent.models.families import DEFAULT, LEARNED, UNLEARNED

__all__ = [
    "AnyStore",
    "At",
    "ClearSky",
    "Cluster",
    "Cube",
    "Date",
    "Debug",
    "Device",
    "DryRun",
    "End",
    "Extend",
    "GlobalOptions",
    "Grid",
    "Json",
    "LogJson",
    "Model",
    "ModelChoices",
    "OneSensor",
    "Pixel",
    "Quiet",
    "Region",
    "Requests",
    "SceneChoice",
    "ScenesFile",
    "Sensors",
    "Source",
    "Start",
    "StoreOrModel",
    "Tables",
    "Variable",
    "Verbs",
    "When",
    "grouped",
]

Region = Annotated[
    str, typer.Option(help="minx,miny,maxx,maxy in degrees, or a GeoJSON file.", metavar="R")
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
Start = Annotated[str | None, typer.Option(help="First day, such as 2018-01-01.", metavar="D")]
End = Annotated[str | None, typer.Option(help="Last day, included.", metavar="D")]
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
        help="monthly, 10D, acquisitions, dates with commas, or a file of dates.", metavar="WHEN"
    ),
]
Requests = Annotated[
    int, typer.Option(min=1, help="Requests to one host at the same time, of all workers.")
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
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda (experimental: not measured on a GPU yet), ...")
]
Cube = Annotated[str, typer.Argument(help="A cube: path or s3://, gs://, az:// URL.")]
Model = Annotated[str, typer.Argument(help="The folder of a trained model.")]
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


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """Give ``verb`` the options of its groups, each as one option of the command line.

    typer reads a flat signature, so that of the function returned is flat; ``verb`` itself takes
    the groups, as keywords.
    """
    parameters = signature(verb, eval_str=True).parameters.values()
    types = {parameter.name: parameter.annotation for parameter in parameters}
    groups = {name: kind for name, kind in types.items() if _is_group(kind)}
    flat: list[Parameter] = []
    for parameter in parameters:
        group = groups.get(parameter.name)
        options = signature(group, eval_str=True).parameters.values() if group else (parameter,)
        flat += [option.replace(kind=Parameter.KEYWORD_ONLY) for option in options]

    @wraps(verb)
    def call(**given: Any) -> None:
        values = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        verb(**given, **values)

    call.__signature__ = Signature(flat)  # type: ignore[attr-defined]
    call.__annotations__ = {option.name: option.annotation for option in flat}
    return call


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind)


@dataclass(frozen=True)
class SceneChoice:
    """Which scenes of a source, and how their items are read."""

    sensor: Sensors = None
    offset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SENSOR=NUMBER",
            help="The offset, in units, of items that do not give theirs; may be repeated.",
        ),
    ] = None
    sources: Tables = None
    mask: Annotated[
        str | None,
        typer.Option(metavar="ASSET", help="Take this mask band of a sensor instead of its best."),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """As :func:`~terralatent.catalogs.scenes.search.search_scenes` takes them."""
        from terralatent.pipeline.cli.scenes import parse_offsets

        return {
            "sensors": self.sensor or None,
            "offsets": parse_offsets(self.offset or ()),
            "described": self.sources or (),
            "mask": self.mask,
        }


@dataclass(frozen=True)
class Grid:
    """The grid of a cube."""

    resolution: Annotated[float, typer.Option(help="Pixel size in metres.")] = 10.0
    crs: Annotated[str | None, typer.Option(help="EPSG:N; the UTM zone by default.")] = None
    block: Annotated[int, typer.Option(help="Pixels along a side of a block.")] = 256


@dataclass(frozen=True)
class Cluster:
    """Who computes."""

    client: Annotated[
        str,
        typer.Option(
            metavar="WHERE",
            help="local; slurm, kubernetes, gateway or cuda (experimental), as Dask's "
            "configuration files say; or a scheduler's address, tcp://host:port.",
        ),
    ] = "local"
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Worker processes to start; by default one a core or GPU of this machine, or what "
            "Dask's configuration of a cluster says.",
        ),
    ] = None
    memory: Annotated[str, typer.Option(help="Of one worker process.")] = "4GB"


PRIOR = "The prior of the latent series"


@dataclass(frozen=True)
class ModelChoices:
    """What a user may choose of a model."""

    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"{DEFAULT} (the default); to compare with it: {', '.join(LEARNED[1:])}, and "
            f"{', '.join(UNLEARNED)}, which take no steps.",
        ),
    ] = None
    latents: Annotated[
        int | None,
        typer.Option(min=1, help="Latent series a pixel; 16 by default.", rich_help_panel=PRIOR),
    ] = None
    kernel: Annotated[
        str | None,
        typer.Option(
            metavar="K",
            help="Kernel over time; constant+matern12 by default.",
            rich_help_panel=PRIOR,
        ),
    ] = None
    posterior: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How it is inferred: markov (the default), exact, inducing, banded, hilbert, "
            "vecchia.",
            rich_help_panel=PRIOR,
        ),
    ] = None
    posterior_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Inducing points, basis functions or neighbours, where it has any.",
            rich_help_panel=PRIOR,
        ),
    ] = None
    choice: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other choice of the model, such as refinements=0; may be repeated.",
            metavar="NAME=VALUE",
        ),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """As :func:`~terralatent.pipeline.training.train.train` takes them."""
        from terralatent.pipeline.training.choices import parse_choices

        named = {name: value for name, value in vars(self).items() if name != "choice"}
        return {**named, **parse_choices(self.choice or ())}


MASK = "What counts as clear (as the model was trained, by default)"


@dataclass(frozen=True)
class ClearSky:
    """Which observations count as clear."""

    dilate: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Widen clouds and shadows by so many pixels.", rich_help_panel=MASK
        ),
    ] = None
    outliers: Annotated[
        bool | None,
        typer.Option(
            "--outliers/--no-outliers",
            help="Mask observations that no neighbour in time supports.",
            rich_help_panel=MASK,
        ),
    ] = None
    clear_rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SENSOR=]RULE",
            help="Which values of the mask band are clear: a function, module:function; a rule as "
            "JSON; or stored, the cube's own. May be repeated.",
            rich_help_panel=MASK,
        ),
    ] = None

    def masking(self) -> MaskingRequest:
        """As :func:`~terralatent.pipeline.training.train.train` and others take it."""
        from terralatent.pipeline.cube.masking import parse_masking

        return parse_masking(self.dilate, self.outliers, self.clear_rule)


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
