"""Which columns of a table hold pixel, time, the bands of which sensor, and what a pixel is."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.registry import read_registry
from terralatent.catalogs.sources.sensors import Sensor, pick_sensors

__all__ = [
    "ATTRIBUTES",
    "BESIDE",
    "FACTS",
    "Columns",
    "TableColumns",
    "band_column",
    "find_columns",
    "time_column",
]

KEYS = ("pixel", "time")
"""Columns that every table has."""

ATTRIBUTES = ("lon", "lat", "group", "label")
"""What a pixel may be given beside its series: degrees; what is split together; a class."""

CARRY = "carry"
"""In a mapping: further columns that are the same for all rows of a pixel, and go with it."""

BESIDE = ("incidence", "distance")
"""What a sensor may have beside bands: its angle, degrees, and pixels to the nearest masked one."""

BETWEEN = ":"
"""Between sensor and band in the name of a column that says both."""

FACTS = b"terralatent:table"
"""Under which the metadata of a table of ours say what its columns are, as JSON."""

Columns: TypeAlias = str | Path | Mapping[str, Any] | None
"""A mapping, or a TOML or JSON file of one: ``pixel``, ``time``, ``lon``, ``lat``, ``group`` and
``label`` name columns, ``carry`` lists further ones of a pixel, and a table for each sensor names
the column of each band, and those of ``incidence`` and ``distance``. None: columns have the names
of bands, or of sensor and band, as in ``sentinel-1-asc:vv``."""


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

    beside: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For each sensor the columns of what it has of :data:`BESIDE`."""

    attributes: Mapping[str, str] = field(default_factory=dict)
    """By the name under which they are carried, columns that are the same for a pixel."""

    @property
    def values(self) -> list[str]:
        """All columns of numbers of sensors."""
        return [
            column
            for own in (self.bands, self.beside)
            for some in own.values()
            for column in some.values()
        ]

    def carrying(self, names: Sequence[str], schema: pa.Schema) -> TableColumns:
        """The same with further columns of a pixel, those of ``names`` that a table has."""
        known = {*self.attributes, *self.every}
        more = {name: name for name in names if name in schema.names and name not in known}
        return replace(self, attributes={**self.attributes, **more})

    @property
    def every(self) -> list[str]:
        """All columns that are read."""
        return list(dict.fromkeys([self.pixel, self.time, *self.values, *self.attributes.values()]))


def band_column(sensor: str, band: str) -> str:
    """The name of a column that says of what it is."""
    return f"{sensor}{BETWEEN}{band}"


def time_column(given: Columns = None) -> str:
    """The name of the column of times."""
    return str(_read(given).get("time", "time"))


def find_columns(
    schema: pa.Schema, where: str, given: Columns = None, names: Sequence[str] | None = None
) -> TableColumns:
    """Find the columns of a table, and check their types. Reads no rows.

    Without a mapping of sensors, columns named as :func:`band_column` does are of that sensor;
    where there is none, a column belongs to the sensor of which the table has most bands, by their
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
    facts = _facts(schema)
    units = facts.get("units", {})
    mapping = _read(given)
    keys = {key: str(mapping.pop(key, key)) for key in KEYS}
    carried = {
        name: str(mapping.pop(name, name))
        for name in ATTRIBUTES
        if name in mapping or name in schema.names
    }
    more = [*mapping.pop(CARRY, ()), *facts.get(CARRY, ())]
    carried |= {str(name): str(name) for name in more if str(name) not in {*carried, *KEYS}}
    if mapping:
        unknown = sorted(mapping.keys() - known.keys())
        if unknown or not all(isinstance(own, Mapping) for own in mapping.values()):
            raise InputError(
                f"The columns of {where}: {', '.join(unknown) or 'a sensor'} must be a known "
                f"sensor with a column for each band; known are {', '.join(known)}."
            )
        by_sensor = {name: dict(own) for name, own in mapping.items()}
    else:
        by_sensor = _by_both(schema.names, {*known, *units}, where)
    if by_sensor:
        by_sensor = {name: own for name, own in by_sensor.items() if names is None or name in names}
        if not by_sensor:
            raise InputError(f"{where} has no column of {', '.join(names or ())}.")
    else:
        by_sensor = dict(_by_name(schema.names, pick_sensors(names, known), where))
    columns = TableColumns(
        keys["pixel"],
        keys["time"],
        {name: _bands(known.get(name), own, where) for name, own in by_sensor.items()},
        {name: known[name].units if name in known else str(units[name]) for name in by_sensor},
        {
            name: {key: str(own[key]) for key in BESIDE if key in own}
            for name, own in by_sensor.items()
            if any(key in own for key in BESIDE)
        },
        carried,
    )
    _check(schema, columns, where)
    return columns


def _facts(schema: pa.Schema) -> dict[str, Any]:
    """What a table of ours says of itself: ``units`` by sensor, and which columns it carries."""
    stored = (schema.metadata or {}).get(FACTS)
    facts: dict[str, Any] = json.loads(stored) if stored else {}
    return facts


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


def _bands(sensor: Sensor | None, columns: Mapping[str, Any], where: str) -> dict[str, str]:
    """The columns of bands among those of a sensor, in its order.

    Raises:
        InputError: If the sensor has no such band, or there is none.
    """
    own = {band: str(column) for band, column in columns.items() if band not in BESIDE}
    if sensor is not None:
        own = {band: own[band] for band in sensor.select(list(own))}
    if not own:
        raise InputError(f"{where} has no column of a band of {sensor.name if sensor else 'it'}.")
    return own


def _by_both(there: Sequence[str], sensors: set[str], where: str) -> dict[str, dict[str, str]]:
    """Columns whose names say sensor and band; {} where none does."""
    found: dict[str, dict[str, str]] = {}
    for column in there:
        sensor, between, band = column.partition(BETWEEN)
        if between and sensor in sensors:
            found.setdefault(sensor, {})[band] = column
        elif between and band:
            raise InputError(
                f"{where}: the column {column!r} names the sensor {sensor!r}, which is unknown; "
                f"known are {', '.join(sorted(sensors))}."
            )
    return found


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
                f"{' or '.join(able)}; name the sensors (sensors=), or say which by columns=."
            )
        found[able[0]] = own[able[0]]
        left = [column for column in left if column not in own[able[0]].values()]
    if not found:
        raise InputError(
            f"{where} has no column of a band of {', '.join(s.name for s in sensors)}; it has "
            f"{', '.join(there)}. Say which is which by columns=."
        )
    return found


def _check(schema: pa.Schema, columns: TableColumns, where: str) -> None:
    kinds: dict[str, tuple[str, Callable[[pa.DataType], bool]]] = {
        columns.pixel: ("integers or strings", _is_key),
        columns.time: ("timestamps or dates", pa.types.is_temporal),
        **{column: ("numbers", _is_number) for column in columns.values},
    }
    for column in columns.every:
        if column not in schema.names:
            raise InputError(
                f"{where} has no column {column!r}; it has {', '.join(schema.names)}. Name it by "
                "columns=."
            )
        kind = schema.field(column).type
        wanted, fits = kinds.get(column, ("anything", lambda kind: True))
        if not fits(kind):
            raise InputError(f"{where}: the column {column!r} holds {kind}, not {wanted}.")


def _is_key(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    # A column of a CSV file without any value has no type.
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind))
