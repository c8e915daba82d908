"""The options that hold before and after every verb of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

__all__ = ["Debug", "GlobalOptions", "LogJson", "Quiet", "Verbs"]

PANEL = "Before or after any verb"
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=PANEL),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="No progress and no information; errors, warnings and losses stay.",
        rich_help_panel=PANEL,
    ),
]
LogJson = Annotated[
    bool,
    typer.Option(
        "--log-json",
        help="Each line on standard error is a JSON object.",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True)
class GlobalOptions:
    """Which of these options a command line has."""

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
        given = {_NAMES[one] for one in arguments[:end] if one in _NAMES}
        rest = [one for one in arguments[:end] if one not in _NAMES]
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
