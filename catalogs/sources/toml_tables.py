"""Tables of sensors and sources in TOML: read, checked, and named where something is wrong.

A file holds tables ``[sensors.NAME]`` and ``[sources.NAME]``, whose keys are the fields of
:class:`~terralatent.catalogs.sources.sensors.Sensor` and
:class:`~terralatent.catalogs.sources.sources.Source`. ``like = "OTHER"`` takes over from another
table what it does not say itself; a table that is like its own name changes parts of one that is
there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.text_files import read_text

__all__ = ["KINDS", "Table", "read_tables", "validate"]

KINDS = ("sensors", "sources")
"""Kinds of tables."""

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
"""Names become groups of a store and options of a command."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Table:
    """A table as it was written."""

    file: Path
    """Where."""

    kind: str
    """One of :data:`KINDS`."""

    name: str
    """What it describes."""

    content: Mapping[str, Any]
    """Its keys, those of ``like`` included."""

    @property
    def key(self) -> str:
        """Where it stands in the file."""
        return f"{self.kind}.{self.name}"


def read_tables(files: Sequence[Path]) -> tuple[Table, ...]:
    """Read the tables of some files, the first file's first.

    Raises:
        InputError: If a file cannot be read or is no TOML, if it holds something else, if a name
            has two tables, or if ``like`` leads nowhere.
    """
    tables: dict[tuple[str, str], Table] = {}
    for file in files:
        for table in _tables_of(file):
            if (first := tables.get((table.kind, table.name))) is not None:
                content = dict(table.content)
                if content.pop("like", None) != table.name:
                    raise InputError(
                        f"{file}: {table.key} stands in {first.file} already; give it "
                        f'another name, or say like = "{table.name}" to change parts of it.'
                    )
                table = Table(file, table.kind, table.name, {**first.content, **content})
            tables[table.kind, table.name] = table
    return tuple(_with_like(table, tables) for table in tables.values())


def validate(kind: type[_T], content: object, table: Table, *at: str) -> _T:
    """Check ``content`` and make a ``kind`` of it.

    Args:
        kind: A dataclass, or any other type that pydantic can check.
        content: What the file holds there.
        table: The table that it belongs to.
        at: Where in the table it stands.

    Raises:
        InputError: If it does not fit: names the file, the key, what was found and wanted.
    """
    if is_dataclass(kind) and isinstance(content, Mapping):
        known = [field.name for field in fields(kind)]
        for key in content:
            if key not in known:
                raise _wrong(table, (*at, key), f"is not known; wanted one of {', '.join(known)}")
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = (*at, *map(str, first["loc"]))
        if first["type"] == "missing":
            raise _wrong(table, where, "is missing") from error
        if first["type"] == "value_error":
            raise _wrong(table, where, f"does not fit: {first['ctx']['error']}") from error
        wanted = first["msg"].replace("Input should be ", "").replace("a valid ", "a ")
        wanted = wanted.replace("tuple", "list")  # as TOML calls it
        raise _wrong(table, where, f"is {first['input']!r}; wanted {wanted}") from error


def _wrong(table: Table, where: Sequence[str], what: str) -> InputError:
    return InputError(f"{table.file}: {'.'.join((table.key, *where))} {what}.")


def _tables_of(file: Path) -> Iterator[Table]:
    try:
        content = tomllib.loads(read_text(file))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{file}: is no TOML ({error}).") from error
    for kind, tables in content.items():
        if kind not in KINDS:
            raise InputError(
                f"{file}: {kind} is not known; wanted tables [sensors.NAME] and [sources.NAME]."
            )
        if not isinstance(tables, Mapping):
            raise InputError(f"{file}: {kind} is {tables!r}; wanted tables [{kind}.NAME].")
        for name, table in tables.items():
            if not isinstance(table, Mapping):
                raise InputError(f"{file}: {kind}.{name} is {table!r}; wanted a table.")
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"{file}: {kind}.{name} cannot be a name; wanted small letters, digits, dots "
                    "and hyphens."
                )
            yield Table(file, kind, name, table)


def _with_like(table: Table, known: Mapping[tuple[str, str], Table]) -> Table:
    """Take over what the table that ``table`` is like says."""
    content, chain = dict(table.content), [table.name]
    while (like := content.pop("like", None)) is not None:
        other = known.get((table.kind, like)) if isinstance(like, str) else None
        if other is None or like in chain:
            names = ", ".join(name for kind, name in known if kind == table.kind)
            raise _wrong(table, ("like",), f"is {like!r}; wanted another of {names}")
        chain.append(like)
        content = {**other.content, **content}
    return Table(table.file, table.kind, table.name, content)
