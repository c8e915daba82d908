"""Options that several verbs share, by groups: frozen dataclasses whose fields are options.

A verb that is :func:`grouped` takes a group as one argument; a method of the group gives what the
function behind the verb takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any

import typer

from terralatent.catalogs.errors import InputError
from terralatent.models.families import DEFAULT, LEARNED, UNLEARNED
from terralatent.pipeline.cli.options import (
    At,
    Calibrate,
    Columns,
    Device,
    Sensors,
    Tables,
    by_sensor,
)
from terralatent.pipeline.command import is_our_program

if TYPE_CHECKING:
    from terralatent.pipeline.cube.masking import MaskingRequest

__all__ = [
    "ClearSky",
    "Cluster",
    "Grid",
    "Inference",
    "ModelChoices",
    "Sampling",
    "SceneChoice",
    "TableChoice",
    "grouped",
]


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
        return {
            "sensors": self.sensor or None,
            "offsets": by_sensor("offset", self.offset or (), "number", "sentinel-2-l2a=-0.1"),
            "described": self.sources or (),
            "mask": self.mask,
        }


@dataclass(frozen=True)
class Grid:
    """The grid of a cube, and the bands that it keeps."""

    resolution: Annotated[float, typer.Option(help="Pixel size in metres.")] = 10.0
    crs: Annotated[str | None, typer.Option(help="EPSG:N; by default UTM, or polar.")] = None
    block: Annotated[int, typer.Option(help="Pixels along a side of a block.")] = 256
    bands: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SENSOR=]B02,B03",
            help="Keep these bands alone; may be repeated. All that items have by default.",
        ),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """As :func:`~terralatent.pipeline.ingest.build.build_cube` takes them."""
        from terralatent.pipeline.cube.bands import parse_bands

        return {**vars(self), "bands": parse_bands(self.bands or ())}

    def of_planned(self) -> dict[str, Any]:
        """What a fleet takes, whose plan says the rest.

        Raises:
            InputError: If that is given too.
        """
        given = self.keywords()
        if given.pop("resolution") != Grid.resolution or given.pop("crs") is not None:
            raise InputError(
                "The plan of a fleet says resolution and CRS; leave --resolution and --crs out, or "
                "plan another."
            )
        return given


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
    dashboard: Annotated[
        bool,
        typer.Option(
            "--dashboard",
            help="Serve Dask's web pages, which every user of this machine can read.",
        ),
    ] = False

    def begin(self, *modules: str) -> None:
        """Have what worker processes of this machine need imported, while this one imports.

        Args:
            modules: By name.
        """
        if self.client == "local" and is_our_program():
            from terralatent.pipeline.cluster.fork_server import start_fork_server

            start_fork_server(*modules)

    def keywords(self) -> dict[str, Any]:
        """As :func:`~terralatent.pipeline.ingest.build.build_cube` and others take them."""
        if self.dashboard:
            from terralatent.pipeline.dashboard import serve_pages

            serve_pages()
        return {"client": self.client, "workers": self.workers, "memory": self.memory}


@dataclass(frozen=True)
class Inference:
    """By which model a cube is mapped, and where that runs."""

    device: Device = "auto"
    at: At = None
    calibrate: Calibrate = False

    def keywords(self) -> dict[str, Any]:
        """As :func:`~terralatent.pipeline.mapping.embed.embed` and others take them."""
        return {"device": self.device, "at": self.at}

    def choose_model(
        self,
        cube: str,
        model: str | None,
        out: str,
        masking: MaskingRequest,
        say: Callable[[str], None],
    ) -> str | None:
        """Return the model to use: the given one, or that calibrated to the cube.

        None is the one of a result that is begun, or the default. Of a new result, a model that
        does not know the cube says so. Computes. A table's is the one given.

        Raises:
            InputError: If a model is to be calibrated to a table.
        """
        from terralatent.pipeline.tables.table import is_table

        if is_table(cube):
            if self.calibrate:
                raise InputError("--calibrate is for cubes; leave it out for a table.")
            return model
        from terralatent.pipeline.mapping.results.fill import model_of
        from terralatent.pipeline.store.repository import Store

        if model is None:
            model = model_of(Store.of(out))
        if self.calibrate:
            from terralatent.pipeline.training.adapting.calibrate import calibrate_beside

            beside, report = calibrate_beside(cube, model, out, masking=masking, at=self.at)
            say(f"{report} -> {beside}")
            return str(beside)
        if not Store.of(out).exists():
            from terralatent.pipeline.training.adapting.familiarity import warn_if_strange

            warn_if_strange(cube, model, masking=masking, at=self.at)
        return model


@dataclass(frozen=True)
class Sampling:
    """What a training sees of its cubes and tables, and how often."""

    balance: Annotated[
        str,
        typer.Option(
            metavar="area|cube", help="Cubes count by their area, or each as much as another."
        ),
    ] = "area"
    columns: Columns = None
    drop_bands: Annotated[
        bool,
        typer.Option(
            "--drop-bands", help="Hide bands in some steps, for cubes that have only a part."
        ),
    ] = False


TABLE = "Of a table of pixel series"


@dataclass(frozen=True)
class TableChoice:
    """How a table of pixel series is embedded."""

    columns: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="TOML or JSON: which of its columns are pixel, time, and which bands.",
            rich_help_panel=TABLE,
        ),
    ] = None
    sensor: Annotated[
        list[str] | None,
        typer.Option(help="May be repeated; all that it has by default.", rich_help_panel=TABLE),
    ] = None
    wide: Annotated[
        bool,
        typer.Option(
            "--wide",
            help="One row of features a pixel instead of one a date.",
            rich_help_panel=TABLE,
        ),
    ] = False

    def keywords(self) -> dict[str, Any]:
        """As :func:`~terralatent.pipeline.mapping.embed.embed` takes them."""
        return {"columns": self.columns, "sensors": self.sensor or None, "wide": self.wide}


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
