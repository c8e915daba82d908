"""A table that is open for reading: a file, or a frame in memory, as groups of rows."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.tables.columns import Columns, TableColumns, find_columns, time_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ENDINGS", "Table", "TableSource", "is_table"]

log = logging.getLogger(__name__)

ENDINGS = (".parquet", ".csv")
"""Of files that are tables of pixel series, and no cubes."""

GROUP_ROWS = 65_536
"""Rows of a group, where a table is in memory."""

TableSource: TypeAlias = Any
"""A path, a :class:`~terralatent.pipeline.tables.series.Series`, an Arrow table or a pandas frame;
the last two have no types."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table of pixel series in long form, with a row for each pixel and time."""

    name: str
    """Its path, or what messages call it."""

    columns: TableColumns
    """Where it has what."""

    rows: tuple[int, ...]
    """Of each group that is read at once: a row group of a Parquet file."""

    schema: pa.Schema
    """Of the columns that are there."""

    _content: pq.ParquetFile | pa.Table

    @classmethod
    def open(
        cls,
        source: TableSource,
        columns: Columns = None,
        sensors: Sequence[str] | None = None,
        carry: Sequence[str] = (),
    ) -> Table:
        """Open a table and find its columns. Reads no rows of a Parquet file; all of others.

        Args:
            source: A ``.parquet`` or ``.csv`` file, an Arrow table, a pandas frame or a
                :class:`~terralatent.pipeline.tables.series.Series`. Rows of what is held in memory
                are put in order here, pixels as they first occur.
            columns: Where it has what, if columns have other names.
            sensors: Those to use; by default all of which it has bands.
            carry: Further columns of a pixel that go with it, where it has them.

        Raises:
            InputError: If there is no such file or it is damaged, or
                :func:`~terralatent.pipeline.tables.columns.find_columns` does not find what it
                must.
        """
        name = str(source) if isinstance(source, str | Path) else _name(source)
        content = _read(source, name, time_column(columns))
        parquet = isinstance(content, pq.ParquetFile)
        schema = content.schema_arrow if parquet else content.schema
        found = find_columns(schema, name, columns, sensors).carrying(carry, schema)
        if unread := [column for column in schema.names if column not in found.every]:
            log.info("%s: the columns %s are not read", name, ", ".join(unread))
        if parquet:
            about = content.metadata
            rows = tuple(about.row_group(n).num_rows for n in range(about.num_row_groups))
        else:
            content = _ordered(content.select(found.every), found)
            rows = tuple(
                min(GROUP_ROWS, len(content) - start)
                for start in range(0, len(content), GROUP_ROWS)
            )
        return cls(name, found, rows, schema, content)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the file, or of what a table in memory holds. Computes, once."""
        if isinstance(self._content, pq.ParquetFile):
            with Path(self.name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for column in self.columns.every:
            digest.update(column.encode())
            with pa.BufferOutputStream() as sink:
                one = self._content.select([column]).replace_schema_metadata().combine_chunks()
                with pa.ipc.new_stream(sink, one.schema) as stream:
                    stream.write_table(one)
                digest.update(sink.getvalue())
        return digest.hexdigest()

    def read(self, groups: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Read the rows of some groups that follow one another. Computes.

        Raises:
            InputError: If the file is damaged there.
        """
        wanted = list(columns or self.columns.every)
        if isinstance(self._content, pq.ParquetFile):
            try:
                return self._content.read_row_groups(list(groups), wanted).select(wanted)
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(self.name, error) from error
        start = sum(self.rows[: groups[0]]) if len(groups) else 0
        return self._content.slice(start, sum(self.rows[n] for n in groups)).select(wanted)


def is_table(source: object) -> bool:
    """Whether what a training or an embedding is given is a table: by its ending, or its type."""
    if isinstance(source, str | Path):
        return str(source).endswith(ENDINGS)
    return isinstance(source, pa.Table) or _has_rows(source) or _is_frame(source)


def _has_rows(source: object) -> bool:
    """Whether it is series, or a frame of others, that give themselves as an Arrow table."""
    return hasattr(source, "to_arrow")


def _is_frame(source: object) -> bool:
    """Whether it is a pandas frame; pandas is imported by whoever made one."""
    return type(source).__module__.split(".")[0] == "pandas" and hasattr(source, "columns")


def _name(source: object) -> str:
    count = len(source) if hasattr(source, "__len__") else 0
    return f"a table in memory of {count:,} {'pixels' if hasattr(source, 'pixels') else 'rows'}"


def _read(source: TableSource, name: str, time: str) -> pq.ParquetFile | pa.Table:
    if _has_rows(source):
        return source.to_arrow()
    if isinstance(source, pa.Table):
        return source
    if _is_frame(source):
        return pa.Table.from_pandas(_dated(source, time, name), preserve_index=False)
    path = Path(source)
    if path.suffix not in ENDINGS:
        raise InputError(f"{name} is no table by its ending; tables end in {' or '.join(ENDINGS)}.")
    try:
        return pq.ParquetFile(path) if path.suffix == ".parquet" else pa.csv.read_csv(path)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(name, error) from error


def _dated(frame: pd.DataFrame, time: str, name: str) -> pd.DataFrame:
    """A frame with timestamps in UTC where it has text, as that of a CSV file is read."""
    import pandas as pd

    if time not in frame or not pd.api.types.is_string_dtype(frame[time]):
        return frame
    try:
        stamps = pd.to_datetime(frame[time], format="ISO8601", utc=True)
    except ValueError as error:
        raise InputError(
            f"{name}: the column {time!r} holds text that is no time of ISO 8601: {error}. Give "
            "timestamps, or text such as 2018-05-01."
        ) from error
    return frame.assign(**{time: stamps.dt.tz_localize(None)})


def _unreadable(name: str, error: Exception) -> InputError:
    kind = "CSV" if name.endswith(".csv") else "Parquet"
    reason = " ".join(str(error).split())
    return InputError(f"{name} cannot be read as a {kind} table: {reason}")


def _ordered(table: pa.Table, columns: TableColumns) -> pa.Table:
    """The rows of each pixel together, as pixels first occur, in ascending time."""
    keys = table[columns.pixel].combine_chunks()
    if keys.null_count or table[columns.time].null_count or not len(table):
        return table  # named where rows are read
    codes = pc.dictionary_encode(keys).indices.to_numpy(zero_copy_only=False)
    times = table[columns.time].cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    order = np.lexsort((np.asarray(times), codes))
    if (np.diff(order) == 1).all():
        return table.combine_chunks()
    return table.take(pa.array(order)).combine_chunks()
