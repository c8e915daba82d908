"""Arguments of Python that a message names, as the options of the command that prints it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from typer.core import TyperCommand, TyperOption

__all__ = ["as_options", "options_of"]

OTHERWISE = {"described": "sources", "colours": "color"}
"""Arguments whose option has another name; a plural's is often the singular, repeated."""

CHOSEN = {"start": "choice"}
"""Arguments that are a choice of the model, where the command has no option of their own."""

_NAMED = re.compile(
    r"""(?<![\w/.=&?-]) (?P<name>[a-z_]+) =
    (?: \{"(?P<key>[^"]*)":\s*(?P<of_key>[^}]*)\} | \["(?P<entry>[^"]*)"\] | "(?P<text>[^"]*)"
    | (?P<word>\w[\w.:+-]*(?<=\w)) )? (?= [\s,;:)\]`] | \.?(?:\s|$) )""",
    re.VERBOSE,
)
"""Such as ``out=``, ``zarr_format=3``, ``format="cog"``, ``ignore=["x"]``, ``offsets={"s": 1}``."""


def options_of(command: TyperCommand) -> dict[str, tuple[str, ...]]:
    """How the options of a command are typed, by the names of its parameters.

    A switch that can be off has that as its second, such as ``--no-overviews``.
    """
    return {
        str(option.name): (option.opts[0], *option.secondary_opts[:1])
        for option in command.params
        if isinstance(option, TyperOption)
    }


def as_options(text: str, options: Mapping[str, tuple[str, ...]]) -> str:
    """Write a message's arguments as options; what the command has no option for stays.

    >>> as_options('choose another out=, or take zarr_format=3.', {"out": ("--out",)})
    'choose another --out, or take zarr_format=3.'
    """
    return _NAMED.sub(lambda found: _typed(found, options), text)


def _typed(found: re.Match[str], options: Mapping[str, tuple[str, ...]]) -> str:
    name = found["name"]
    names = (name, OTHERWISE.get(name, name), name.removesuffix("s"))
    option = next((options[known] for known in names if known in options), None)
    value = next((found[part] for part in ("of_key", "entry", "text", "word") if found[part]), "")
    if found["key"]:
        value = f"{found['key']}={value}"
    if option is None:
        chosen = options.get(CHOSEN.get(name, ""))
        return f"{chosen[0]} {name}={value}" if chosen and value else found[0]
    if value in ("True", "False"):
        return option[0] if value == "True" else option[-1]
    return f"{option[0]} {shlex.quote(value)}" if value else option[0]
