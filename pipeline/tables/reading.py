"""A table that may be larger than memory, read as series of whole pixels, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from terralatent.pipeline.tables.rows import PIXEL, read_rows, require_whole, starts_of
from terralatent.pipeline.tables.series import Series
from terralatent.pipeline.tables.table import Table

__all__ = ["chunks"]


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
        starts = starts_of(rows, columns, table.name)
        last = group == len(table.rows) - 1
        ends = np.append(starts[1:], len(rows)) if last else starts[1:]
        starts = starts[: len(ends)]
        step = max(1, pixels or len(starts))
        for some in range(0, len(starts), step):
            own, until = starts[some : some + step], int(ends[some : some + step][-1])
            begin = int(own[0])
            part = Series(
                *read_rows(rows.slice(begin, until - begin), own - begin, columns, table.name)
            )
            keys.append(part.pixels[PIXEL].combine_chunks())
            yield first + begin, part
        done = int(ends[-1]) if len(ends) else 0
        carried, first = rows.slice(done), first + done
    if keys:
        require_whole(pa.chunked_array(keys), table.name)
