"""Options of verbs that run over one store, or over all tiles of a fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.command import PROGRAM

if TYPE_CHECKING:
    from terralatent.pipeline.fleet.fleet import Fleet

__all__ = [
    "PANEL",
    "AnyStore",
    "Cube",
    "CubeOrTable",
    "FleetChoice",
    "FleetFile",
    "LatentsOrCube",
    "StoreOrModel",
    "open_fleet",
]

PANEL = "Of a fleet"

# Arguments of a single store, which a fleet does without.
Cube = Annotated[
    str | None,
    typer.Argument(help="A cube: path or s3://, gs://, az:// URL.", show_default=False),
]
CubeOrTable = Annotated[
    str | None,
    typer.Argument(
        metavar="CUBE|TABLE",
        help="A cube: path or s3://, gs://, az:// URL; or a table of series (.parquet, .csv).",
        show_default=False,
    ),
]
LatentsOrCube = Annotated[
    str | None,
    typer.Argument(
        metavar="LATENTS",
        help="Latents or annual vectors; or a cube, which is embedded first.",
        show_default=False,
    ),
]
AnyStore = Annotated[
    str | None,
    typer.Argument(help="A cube, latents, bands, annual vectors or a map.", show_default=False),
]
StoreOrModel = Annotated[
    str | None,
    typer.Argument(
        metavar="STORE",
        help="A cube, latents, bands, a map or the folder of a model.",
        show_default=False,
    ),
]

FleetFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Of `fleet plan`: all tiles of it, instead of one store.",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True)
class FleetChoice:
    """Which fleet, if any, and how many of its tiles at once."""

    fleet: FleetFile = None
    at_once: Annotated[
        int, typer.Option(min=1, metavar="N", help="Tiles in flight.", rich_help_panel=PANEL)
    ] = 4

    def open(self, verb: str, given: Mapping[str, str | None]) -> Fleet | None:
        """As :func:`open_fleet`."""
        return open_fleet(self.fleet, verb, given)


def open_fleet(fleet: str | None, verb: str, given: Mapping[str, str | None]) -> Fleet | None:
    """The fleet that is meant; None where a single store is.

    Args:
        fleet: What was given as ``--fleet``.
        verb: That runs.
        given: By its option or the name of its argument, what a single store wants.

    Raises:
        InputError: If both or neither are given, or there is no such fleet.
    """
    if fleet is None:
        for name, value in given.items():
            if value is None:
                kind = "option" if name.startswith("-") else "argument"
                raise InputError(
                    f"{PROGRAM} {verb}: Missing {kind} '{name}'; give it, or --fleet FILE for all "
                    "tiles of one."
                )
        return None
    if both := [name for name, value in given.items() if value is not None]:
        raise InputError(
            f"{PROGRAM} {verb}: --fleet says which stores, and so does {both[0]}; give one."
        )
    from terralatent.pipeline.fleet.fleet import Fleet

    return Fleet.open(fleet)
