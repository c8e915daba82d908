"""Rows of a table, checked: what Arrow holds -> arrays of whole pixels, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.observations import DISTANCE_CAP
from terralatent.pipeline.cube.units import check_units
from terralatent.pipeline.tables.columns import TableColumns

__all__ = ["PIXEL", "TIME", "PixelRows", "SensorRows", "read_rows", "require_whole", "starts_of"]

PIXEL, TIME = "pixel", "time"
"""What the first two columns of our own tables are called."""


@dataclass(frozen=True, eq=False)
class SensorRows:
    """What one sensor saw in the rows of some series; R rows of all pixels together."""

    bands: tuple[str, ...]
    """Their names, in the sensor's order."""

    units: str
    """Of the values: ``1`` for reflectance, ``dB``."""

    values: NDArray[np.float32]
    """NaN where not seen, (R, B)."""

    incidence: NDArray[np.float32]
    """Angle of incidence in degrees, NaN where unknown, (R,)."""

    distance: NDArray[np.float32]
    """Pixels to the nearest masked one, at most 16; 16 where a table does not say it, (R,)."""

    @property
    def observed(self) -> NDArray[np.bool_]:
        """Whether a row has any value of the sensor, (R,)."""
        return np.asarray(np.isfinite(self.values).any(axis=1))

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> SensorRows:
        """Some rows, by their places or a mask of all."""
        return replace(
            self,
            values=self.values[rows],
            incidence=self.incidence[rows],
            distance=self.distance[rows],
        )


class PixelRows(NamedTuple):
    """What a :class:`~terralatent.pipeline.tables.series.Series` is made of."""

    pixels: pa.Table
    offsets: NDArray[np.int64]
    times: NDArray[np.int64]
    sensors: dict[str, SensorRows]


def starts_of(rows: pa.Table, columns: TableColumns, where: str) -> NDArray[np.int64]:
    """The first row of each pixel, ascending; none where there are no rows."""
    for column in (columns.pixel, columns.time):
        if rows[column].null_count:
            raise InputError(f"{where}: {column!r} is null in some rows; leave these out.")
    keys = rows[columns.pixel].combine_chunks()
    if not len(keys):
        return np.zeros(0, np.int64)
    new = np.asarray(pc.not_equal(keys[1:], keys[:-1]))
    return np.append(0, np.flatnonzero(new) + 1)


def require_whole(keys: pa.ChunkedArray, where: str) -> None:
    counts = pc.value_counts(keys)
    twice = pc.greater(counts.field("counts"), 1)
    if pc.any(twice).as_py():
        pixel = counts.field("values").filter(twice)[0]
        raise InputError(
            f"{where}: the rows of pixel {pixel} do not follow one another; sort the table by "
            "pixel."
        )


def read_rows(
    rows: pa.Table, starts: NDArray[np.int64], columns: TableColumns, where: str
) -> PixelRows:
    """Read rows that are those of whole pixels, one after the other.

    Rows of a pixel that are not in ascending time are put so.

    Args:
        rows: With the columns of ``columns``.
        starts: The first row of each pixel, ascending, the first 0.
        columns: Where they have what.
        where: The table, for messages.

    Raises:
        InputError: If a pixel has two rows of one time, its attributes change, or values are not in
            a sensor's units.
    """
    offsets = np.append(starts, len(rows)).astype(np.int64)
    pixel = np.repeat(np.arange(len(starts)), np.diff(offsets))
    times = _times(rows[columns.time])
    order = np.lexsort((times, pixel))
    if (order != np.arange(len(order))).any():
        rows, times = rows.take(pa.array(order)), times[order]
    twice = np.flatnonzero((np.diff(times) == 0) & (np.diff(pixel) == 0))
    if len(twice):
        at = int(twice[0])
        raise InputError(
            f"{where}: pixel {rows[columns.pixel][at]} has two rows of {_iso(times[at])}; leave "
            "one of them out, or join them."
        )
    sensors = {name: _sensor(rows, name, columns) for name in columns.bands}
    for name, own in sensors.items():
        check_units(own.values, name, own.units, where)
    return PixelRows(_pixels(rows, starts, pixel, columns, where), offsets, times, sensors)


def _sensor(rows: pa.Table, name: str, columns: TableColumns) -> SensorRows:
    bands, beside = columns.bands[name], columns.beside.get(name, {})
    values = np.stack([_floats(rows[column]) for column in bands.values()], axis=1)
    values[~np.isfinite(values)] = np.nan
    incidence = np.full(len(rows), np.nan, np.float32)
    if "incidence" in beside:
        incidence = _floats(rows[beside["incidence"]])
    distance = np.full(len(rows), DISTANCE_CAP, np.float32)
    if "distance" in beside:
        distance = np.nan_to_num(_floats(rows[beside["distance"]]), nan=DISTANCE_CAP)
        distance = distance.clip(0.0, DISTANCE_CAP).astype(np.float32)
    return SensorRows(tuple(bands), columns.units[name], values, incidence, distance)


def _pixels(
    rows: pa.Table,
    starts: NDArray[np.int64],
    pixel: NDArray[np.intp],
    columns: TableColumns,
    where: str,
) -> pa.Table:
    """What is known of each pixel, under the names by which it is carried."""
    first, whose = pa.array(starts), pa.array(starts[pixel])
    found = {PIXEL: rows[columns.pixel].take(first)}
    for name, column in columns.attributes.items():
        own = rows[column]
        same = pc.fill_null(pc.equal(own, own.take(whose)), True)
        if not pc.all(same).as_py() and not _all_nan(own, own.take(whose), same):
            at = int(np.flatnonzero(~np.asarray(same))[0])
            raise InputError(
                f"{where}: {column!r} changes within the rows of pixel {rows[columns.pixel][at]}; "
                "it must be the same in all, or else not be carried."
            )
        found[name] = own.take(first)
    return pa.table(found)


def _all_nan(own: pa.ChunkedArray, others: pa.ChunkedArray, same: pa.ChunkedArray) -> bool:
    """Whether what is not the same is not a number in both."""
    if not pa.types.is_floating(own.type):
        return False
    both = pc.and_(pc.is_nan(own), pc.is_nan(others))
    return bool(pc.all(pc.or_(same, both)).as_py())


def _floats(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """A column of numbers, NaN where null."""
    values = column.cast(pa.float32(), safe=False).to_numpy()
    return np.array(values, np.float32)  # Arrow's own memory cannot be written


def _times(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A column of times, microseconds since 1970 UTC."""
    return np.asarray(column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()))


def _iso(time: np.int64) -> str:
    return str(np.datetime64(int(time), "us")).removesuffix(".000000")
