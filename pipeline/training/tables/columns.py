"""Which columns of a table hold pixel, time and the bands of which sensor."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.registry import read_registry
from terralatent.catalogs.sources.sensors import Sensor, pick_sensors

__all__ = ["Columns", "TableColumns", "find_columns"]

KEYS = ("pixel", "time")
"""What a mapping names beside sensors."""

Columns: TypeAlias = str | Path | Mapping[str, Any] | None
"""A mapping, or a TOML or JSON file of one: ``pixel`` and ``time`` name columns, and a table for
each sensor the column of each band. None: columns have the names of bands."""


@dataclass(frozen=True)
class TableColumns:
    """The columns of a table that are read."""

    pixel: str
    """Integers or strings; equal for rows of one pixel."""

    time: str
    """Timestamps or dates, UTC."""

    bands: Mapping[str, Mapping[str, str]]
    """For each sensor the column of each band, in the sensor's order; physical units."""

    units: Mapping[str, str]
    """Of each sensor."""

    @property
    def values(self) -> list[str]:
        """All columns of bands."""
        return [column for own in self.bands.values() for column in own.values()]


def find_columns(
    schema: pa.Schema, where: str, given: Columns = None, names: Sequence[str] | None = None
) -> TableColumns:
    """Find the columns of a table, and check their types. Reads no rows.

    Without a mapping a column belongs to the sensor of which the table has most bands, by their
    names or asset keys elsewhere.

    Args:
        schema: Of the table.
        where: Its path, for messages.
        given: Where it has what.
        names: The sensors wanted; by default all that are known.

    Raises:
        InputError: If there is no such column, one is of another type, the mapping names what is
            unknown, no column is of a band, or some may be of two sensors.
    """
    known = read_registry(()).sensors
    mapping = _read(given)
    keys = {key: str(mapping.pop(key, key)) for key in KEYS}
    if mapping:
        unknown = sorted(mapping.keys() - known.keys())
        if unknown or not all(isinstance(own, Mapping) for own in mapping.values()):
            raise InputError(
                f"The columns of {where}: {', '.join(unknown) or 'a sensor'} must be a known "
                f"sensor with a column for each band; known are {', '.join(known)}."
            )
        chosen = {
            name: _ordered(known[name], own)
            for name, own in mapping.items()
            if names is None or name in names
        }
    else:
        chosen = _by_name(schema.names, pick_sensors(names, known), where)
    columns = TableColumns(
        keys["pixel"], keys["time"], chosen, {name: known[name].units for name in chosen}
    )
    _check(schema, columns, where)
    return columns


def _read(given: Columns) -> dict[str, Any]:
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    path = Path(given)
    try:
        text = path.read_text("utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as TOML or JSON of a table's columns: {error}"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not columns by name.")
    return content


def _ordered(sensor: Sensor, columns: Mapping[str, Any]) -> dict[str, str]:
    return {band: str(columns[band]) for band in sensor.select(list(columns))}


def _by_name(
    there: Sequence[str], sensors: Sequence[Sensor], where: str
) -> dict[str, dict[str, str]]:
    """Give columns to sensors by the names of bands: first to the one that has most of them."""
    left, found = list(there), {}
    while True:
        own = {sensor.name: sensor.asset_keys(dict.fromkeys(left)) for sensor in sensors}
        most = max(map(len, own.values()))
        if most == 0:
            break
        able = [name for name, columns in own.items() if len(columns) == most]
        if len(able) > 1:
            raise InputError(
                f"{where}: the columns {', '.join(own[able[0]].values())} may be of "
                f"{' or '.join(able)}; name the sensors (--sensor), or say which by --columns."
            )
        found[able[0]] = own[able[0]]
        left = [column for column in left if column not in own[able[0]].values()]
    if not found:
        raise InputError(
            f"{where} has no column of a band of {', '.join(s.name for s in sensors)}; it has "
            f"{', '.join(there)}. Say which is which by --columns."
        )
    return found


def _check(schema: pa.Schema, columns: TableColumns, where: str) -> None:
    kinds = {
        columns.pixel: ("integers or strings", _is_key),
        columns.time: ("timestamps or dates", pa.types.is_temporal),
        **{column: ("numbers", _is_number) for column in columns.values},
    }
    for column, (wanted, fits) in kinds.items():
        if column not in schema.names:
            raise InputError(
                f"{where} has no column {column!r}; it has {', '.join(schema.names)}. Name it by "
                "--columns."
            )
        kind = schema.field(column).type
        if not fits(kind):
            raise InputError(f"{where}: the column {column!r} holds {kind}, not {wanted}.")


def _is_key(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
