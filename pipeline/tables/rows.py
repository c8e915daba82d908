"""Rows of a table -> series of pixels, checked: a chunk of whole pixels at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.observations import DISTANCE_CAP
from terralatent.pipeline.tables.columns import BESIDE, CARRY, FACTS, TableColumns, band_column
from terralatent.pipeline.tables.series import SensorRows, Series
from terralatent.pipeline.tables.table import Table
from terralatent.pipeline.tables.units import check_units

__all__ = ["chunks", "join", "read_all", "series_of", "to_rows"]

PIXEL, TIME = "pixel", "time"


def chunks(table: Table, *, pixels: int | None = None) -> Iterator[tuple[int, Series]]:
    """Read a table group by group, as whole pixels. Computes.

    Rows of a group's last pixel are carried on to the next one. What holds for a table as a whole,
    that no pixel comes again, is checked in the end.

    Args:
        table: Any.
        pixels: In a chunk at most; by default all whose rows end in a group.

    Yields:
        The first row of a chunk, counted in the table, and its series.

    Raises:
        InputError: If a pixel or a time is null, a pixel has two rows of one time, its rows are
            scattered, its attributes change, or values are not in a sensor's units.
    """
    columns, first, carried = table.columns, 0, None
    keys: list[pa.Array] = []
    for group in range(len(table.rows)):
        rows = table.read([group])
        if carried is not None and len(carried):
            rows = pa.concat_tables([carried, rows])
        starts = _starts(rows, columns, table.name)
        last = group == len(table.rows) - 1
        ends = np.append(starts[1:], len(rows)) if last else starts[1:]
        starts = starts[: len(ends)]
        step = max(1, pixels or len(starts))
        for some in range(0, len(starts), step):
            own, until = starts[some : some + step], int(ends[some : some + step][-1])
            begin = int(own[0])
            part = series_of(rows.slice(begin, until - begin), own - begin, columns, table.name)
            keys.append(part.pixels[PIXEL].combine_chunks())
            yield first + begin, part
        done = int(ends[-1]) if len(ends) else 0
        carried, first = rows.slice(done), first + done
    if keys:
        _require_whole(pa.chunked_array(keys), table.name)


def read_all(table: Table) -> Series:
    """Read a table whole; see :func:`chunks`."""
    return join([part for _, part in chunks(table)], table)


def join(parts: Sequence[Series], table: Table) -> Series:
    """Join series of one table, in their order; for no parts the series of no pixel."""
    if not parts:
        return series_of(
            pa.table({name: pa.array([], table.schema.field(name).type) for name in table.columns.every}),
            np.zeros(0, np.int64),
            table.columns,
            table.name,
        )
    ends = np.cumsum([part.offsets[-1] for part in parts])
    starts = [part.offsets[:-1] + end - part.offsets[-1] for part, end in zip(parts, ends, strict=True)]
    return Series(
        pa.concat_tables([part.pixels for part in parts]),
        np.append(np.concatenate(starts), ends[-1]),
        np.concatenate([part.times for part in parts]),
        {
            name: SensorRows(
                own.bands,
                own.units,
                np.concatenate([part.sensors[name].values for part in parts]),
                np.concatenate([part.sensors[name].incidence for part in parts]),
                np.concatenate([part.sensors[name].distance for part in parts]),
            )
            for name, own in parts[0].sensors.items()
        },
    )


def series_of(
    rows: pa.Table, starts: NDArray[np.int64], columns: TableColumns, where: str
) -> Series:
    """Make series of rows that are those of whole pixels, one after the other.

    Rows of a pixel that are not in ascending time are put so.

    Args:
        rows: With the columns of ``columns``.
        starts: The first row of each pixel, ascending, the first 0.
        columns: Where they have what.
        where: The table, for messages.

    Raises:
        InputError: See :func:`chunks`.
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
            f"{where}: pixel {rows[columns.pixel][at]} has two rows of {_iso(times[at])}; leave one of "
            "them out, or join them."
        )
    sensors = {name: _sensor(rows, name, columns) for name in columns.bands}
    for name, own in sensors.items():
        check_units(own.values, name, own.units, where)
    return Series(_pixels(rows, starts, pixel, columns, where), offsets, times, sensors)


def to_rows(series: Series) -> pa.Table:
    """The series in long form; see :meth:`~terralatent.pipeline.tables.series.Series.to_arrow`."""
    counts = series.counts
    if (counts == 0).any():
        series = _with_blanks(series)
    pixel = pa.array(series.pixel_of_row)
    data = {PIXEL: series.pixels[PIXEL].take(pixel)}
    data[TIME] = pa.array(series.times).cast(pa.timestamp("us", tz="UTC"))
    attributes = [name for name in series.pixels.column_names if name != PIXEL]
    data |= {name: series.pixels[name].take(pixel) for name in attributes}
    for name, own in series.sensors.items():
        for place, band in enumerate(own.bands):
            data[band_column(name, band)] = pa.array(own.values[:, place])
        for key in BESIDE:
            data[band_column(name, key)] = pa.array(getattr(own, key))
    facts = {
        "units": {name: own.units for name, own in series.sensors.items()},
        CARRY: attributes,
    }
    return pa.table(data).replace_schema_metadata({FACTS: json.dumps(facts).encode()})


def _with_blanks(series: Series) -> Series:
    """The same with a row without values for each pixel that has none."""
    bare = np.flatnonzero(series.counts == 0)
    at = series.offsets[bare]
    when = series.times.min() if len(series.times) else 0
    counts = np.maximum(series.counts, 1)
    blank = {"values": np.nan, "incidence": np.nan, "distance": DISTANCE_CAP}
    return Series(
        series.pixels,
        np.append(0, np.cumsum(counts)),
        np.insert(series.times, at, when),
        {
            name: SensorRows(
                own.bands,
                own.units,
                **{key: np.insert(getattr(own, key), at, fill, axis=0) for key, fill in blank.items()},
            )
            for name, own in series.sensors.items()
        },
    )


def _starts(rows: pa.Table, columns: TableColumns, where: str) -> NDArray[np.int64]:
    """The first row of each pixel, ascending; none where there are no rows."""
    for column in (columns.pixel, columns.time):
        if rows[column].null_count:
            raise InputError(f"{where}: {column!r} is null in some rows; leave these out.")
    keys = rows[columns.pixel].combine_chunks()
    if not len(keys):
        return np.zeros(0, np.int64)
    new = np.asarray(pc.not_equal(keys[1:], keys[:-1]))
    return np.append(0, np.flatnonzero(new) + 1)


def _require_whole(keys: pa.ChunkedArray, where: str) -> None:
    counts = pc.value_counts(keys)
    twice = pc.greater(counts.field("counts"), 1)
    if pc.any(twice).as_py():
        pixel = counts.field("values").filter(twice)[0]
        raise InputError(
            f"{where}: the rows of pixel {pixel} do not follow one another; sort the table by "
            "pixel."
        )


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
                f"{where}: {column!r} changes within the rows of pixel {rows[columns.pixel][at]}; it "
                "must be the same in all, or else not be carried."
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
