"""Tables of pixel series as a source of training beside cubes.

A table says when a pixel was seen and what was seen; it is read by row groups, so it may be larger
than memory. Pixels that were seen on the same dates share a calendar. Those whose calendar few
others have share the union of theirs, as many as are alike, where dates that a pixel lacks are not
valid.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.masking import AS_STORED, Masks
from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.tables.calendars import Axis, lay
from terralatent.pipeline.tables.columns import Columns
from terralatent.pipeline.tables.rows import read_rows
from terralatent.pipeline.tables.series import Series
from terralatent.pipeline.tables.table import Table, TableSource
from terralatent.pipeline.training.holdout import blocks_apart
from terralatent.pipeline.training.sources import Bands
from terralatent.pipeline.training.tables.index import SeenTogether, index_table, share_calendars

__all__ = ["TableCalendar", "open_table"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Part:
    """Pixels of one calendar whose rows begin in one row group."""

    groups: tuple[int, ...]
    """Row groups that hold their rows."""

    first: int
    """The first row of these, counted in the table."""

    starts: NDArray[np.int64]
    """First row of each pixel, counted in the table, ascending, (N,)."""

    counts: NDArray[np.int64]
    """Rows of each pixel, (N,)."""


@dataclass(frozen=True, eq=False)
class TableCalendar:
    """Pixels of a table on one calendar: what a cube is to a training."""

    table: Table
    """Whose pixels they are."""

    number: int
    """Which calendar of it."""

    axes: Mapping[str, Axis]
    """Acquisitions in which a sensor saw any of the pixels."""

    sensors: Mapping[str, Bands]
    """The sensors that are used, and the bands that series have."""

    parts: tuple[Part, ...]
    """By row groups."""

    apart: tuple[bool, ...]
    """For each part, whether it is kept for validation."""

    together: bool
    """Whether its pixels have the same dates; else each has some of them."""

    masks: Masks = AS_STORED
    """None: what a table holds was seen."""

    snapshot: str = ""
    """None."""

    @property
    def name(self) -> str:
        """The table's."""
        return self.table.name

    @property
    def identity(self) -> str:
        """SHA-256 of what the table holds, and which calendar of it."""
        return f"{self.table.identity}/{self.number}"

    @property
    def version(self) -> str:
        """Its identity."""
        return self.identity

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pixels of each part."""
        return tuple(len(part.starts) for part in self.parts)

    def read(self, part: int) -> SeriesBlock:
        """Read the series of a part. Computes."""
        own, columns = self.parts[part], self.table.columns
        table = self.table.read(own.groups, [columns.pixel, columns.time, *columns.values])
        offsets = np.cumsum(own.counts) - own.counts
        rows = np.repeat(own.starts - own.first - offsets, own.counts) + np.arange(own.counts.sum())
        bare = replace(columns, attributes={})
        series = Series(*read_rows(table.take(rows), offsets, bare, self.name))
        bands = {name: bands.names for name, bands in self.sensors.items()}
        return lay(series, {name: self.axes[name] for name in self.sensors}, bands)

    def classes(self, part: int) -> None:
        """Pixels of a table are not balanced by class."""

    def with_sensors(self, sensors: Mapping[str, Bands]) -> TableCalendar:
        """The same pixels with some sensors, whose series have the bands given."""
        return replace(self, sensors=dict(sensors))

    def keep_for(self, user: str) -> None:
        """A file is nobody's to keep; another one is noticed by its :attr:`identity`."""


def open_table(
    source: TableSource,
    sensors: Sequence[str] | None = None,
    *,
    seed: int,
    columns: Columns = None,
    carry: Sequence[str] = (),
) -> tuple[TableCalendar, ...]:
    """Open a table of pixel series. Computes: reads it once, one row group after the other.

    Args:
        source: See :meth:`terralatent.pipeline.tables.table.Table.open`.
        sensors: Those to use; by default all of which it has bands.
        seed: Of the choice of the parts kept for validation.
        columns: Where it has what, if columns have other names.
        carry: Further columns of a pixel, where it has them.

    Returns:
        Its calendars, those with most pixels first.

    Raises:
        InputError: If there is no such file or it is damaged, a column is missing or of another
            type, the rows of a pixel are scattered, two have one time, or most values of a
            sensor are not in its units.
    """
    table = Table.open(source, columns, sensors, carry)
    groups = [*share_calendars(index_table(table))]
    ends = np.cumsum(table.rows)
    calendars = [_calendar(table, number, own, ends, seed) for number, own in enumerate(groups)]
    calendars = [calendar for calendar in calendars if calendar.sensors]
    if not calendars:
        raise InputError(f"{table.name} holds no value; a table has a row for each pixel and date.")
    log.info("%s: %d pixels in %d calendars", table.name, sum(sum(own.sizes) for own in calendars),
             len(calendars))  # fmt: skip
    return tuple(calendars)


def _calendar(
    table: Table,
    number: int,
    pixels: Sequence[SeenTogether],
    ends: NDArray[np.int64],
    seed: int,
) -> TableCalendar:
    """Lay pixels on the union of their times; ``ends`` are those of the row groups."""
    axes = {}
    for name in table.columns.bands:
        times = np.concatenate([own.times[own.seen[name]] for own in pixels])
        angles = np.concatenate([own.incidence[name][own.seen[name]] for own in pixels])
        if len(times):
            axes[name] = Axis.of(times, angles)
    starts = np.concatenate([np.array(own.starts, np.int64) for own in pixels])
    counts = np.repeat([len(own.times) for own in pixels], [len(own.starts) for own in pixels])
    order = np.argsort(starts)
    starts, counts = starts[order], counts[order]
    begin, end = (
        np.searchsorted(ends, rows, side="right") for rows in (starts, starts + counts - 1)
    )
    parts = []
    for group in np.unique(begin):
        here = begin == group
        last = int(end[here].max())
        first = int(ends[group - 1]) if group else 0
        parts.append(Part(tuple(range(int(group), last + 1)), first, starts[here], counts[here]))
    bands, units = table.columns.bands, table.columns.units
    return TableCalendar(
        table=table,
        number=number,
        axes=axes,
        sensors={name: Bands(tuple(bands[name]), units[name]) for name in axes},
        parts=tuple(parts),
        apart=tuple(map(bool, blocks_apart(np.ones(len(parts), dtype=bool), seed))),
        together=len(pixels) == 1,
    )
