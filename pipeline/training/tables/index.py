"""Where in a table the rows of each pixel are, and which pixels were seen at the same times."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.training.tables.columns import TableColumns

__all__ = ["SeenTogether", "column_times", "column_values", "index_table"]

MOST_REFLECTANCE, MOST_DECIBEL = 7.0, 0.0
"""Most values are lower where they are in the sensor's units: no digital numbers, no power."""


@dataclass(frozen=True, eq=False)
class SeenTogether:
    """Pixels whose rows have the same times."""

    times: NDArray[np.int64]
    """Microseconds since 1970, ascending, (T,)."""

    seen: Mapping[str, NDArray[np.bool_]]
    """For each sensor, whether any of the pixels has a value then, (T,)."""

    starts: array[int]
    """First row of each pixel, counted in the table."""


def index_table(file: pq.ParquetFile, columns: TableColumns, where: str) -> list[SeenTogether]:
    """Find the rows of each pixel of a table. Computes: reads it once, by row groups.

    The rows of a row group's last pixel are carried on to the next one.

    Args:
        file: The table.
        columns: Those that are read.
        where: Its path, for messages.

    Returns:
        Pixels by the times of their rows, in the order in which these first occur.

    Raises:
        InputError: If a pixel or a time is null, rows of a pixel are scattered or not in ascending
            time, or most values of a sensor are not in its units.
    """
    found: dict[bytes, SeenTogether] = {}
    keys: list[pa.Array] = []
    first, carried = 0, None
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, [columns.pixel, columns.time, *columns.values])
        if group == 0:
            _check_units(table, columns, where)
        table = table if carried is None else pa.concat_tables([carried, table])
        starts = _runs(table, columns, where)
        stop = table.num_rows if group == file.num_row_groups - 1 else int(starts[-1])
        times, seen = column_times(table, columns.time), _seen(table, columns)
        starts = starts[starts < stop]
        keys.append(table[columns.pixel].take(pa.array(starts)).combine_chunks())
        for start, end in pairwise((*starts.tolist(), stop)):
            own = times[start:end]
            same = found.setdefault(
                own.tobytes(),
                SeenTogether(
                    own, {name: np.zeros(len(own), dtype=bool) for name in seen}, array("q")
                ),
            )
            same.starts.append(first + start)
            for name, some in seen.items():
                np.logical_or(same.seen[name], some[start:end], out=same.seen[name])
        carried, first = table.slice(stop), first + stop
    if keys:
        _require_whole(pa.chunked_array(keys), where)
    return list(found.values())


def _runs(table: pa.Table, columns: TableColumns, where: str) -> NDArray[np.int64]:
    """The first row of each pixel, ascending.

    Raises:
        InputError: If a row has no pixel or no time, or times of a pixel do not ascend.
    """
    for column in (columns.pixel, columns.time):
        if table[column].null_count:
            raise InputError(f"{where}: {column!r} is null in some rows; leave these out.")
    keys = table[columns.pixel].combine_chunks()
    if not len(keys):
        return np.zeros(1, np.int64)
    new = np.asarray(pc.not_equal(keys[1:], keys[:-1]))
    back = ~new & (np.diff(column_times(table, columns.time)) <= 0)
    if back.any():
        raise InputError(
            f"{where}: the rows of pixel {keys[int(np.flatnonzero(back)[0])]} are not in ascending "
            f"time, or two have one time; sort the table by {columns.pixel} and {columns.time}."
        )
    return np.append(0, np.flatnonzero(new) + 1)


def _require_whole(keys: pa.ChunkedArray, where: str) -> None:
    counts = pc.value_counts(keys)
    twice = pc.greater(counts.field("counts"), 1)
    if pc.any(twice).as_py():
        pixel = counts.field("values").filter(twice)[0]
        raise InputError(
            f"{where}: the rows of pixel {pixel} do not follow one another; sort the table by "
            "pixel and time."
        )


def _check_units(table: pa.Table, columns: TableColumns, where: str) -> None:
    """Refuse values that cannot be in a sensor's units, by their median."""
    for name, bands in columns.bands.items():
        most = {"1": MOST_REFLECTANCE, "dB": MOST_DECIBEL}.get(columns.units[name], np.inf)
        values = np.concatenate([column_values(table, column) for column in bands.values()])
        values = values[np.isfinite(values)]
        if len(values) and np.median(values) > most:
            raise InputError(
                f"{where}: the median of {name} is {np.median(values):.3g}, which is not in units "
                f"of {columns.units[name]!r}; write values in the sensor's units."
            )


def _seen(table: pa.Table, columns: TableColumns) -> dict[str, NDArray[np.bool_]]:
    """For each sensor, whether a row has a value of it, (rows,)."""
    return {
        name: np.logical_or.reduce(
            [np.isfinite(column_values(table, column)) for column in bands.values()]
        )
        for name, bands in columns.bands.items()
    }


def column_values(table: pa.Table, column: str) -> NDArray[np.float32]:
    """A column of a band, NaN where null."""
    values: NDArray[np.float32] = (
        table[column].cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False)
    )
    return values


def column_times(table: pa.Table, column: str) -> NDArray[np.int64]:
    """A column of times, microseconds since 1970 UTC."""
    times = table[column].cast(pa.timestamp("us"), safe=False)
    return np.asarray(times.cast(pa.int64()))
