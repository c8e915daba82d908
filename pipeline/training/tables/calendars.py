"""Pixels of a table on one calendar, which a training reads as it reads a cube.

Tables are long form, one row a pixel and date, in Parquet. A table says when a pixel was seen and
what was seen, and nothing of what lies around it: every observation counts as far from any cloud.
It is read by row groups, so it may be larger than memory;
the rows of a pixel must follow one another, in ascending time. Pixels that were seen on the same
dates share a calendar; those whose calendar few others have share the union of theirs, where dates
that a pixel lacks are not valid.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.observations import DISTANCE_CAP
from terralatent.pipeline.cube.masking import AS_STORED, Masks
from terralatent.pipeline.cube.series import US_PER_DAY, SensorSeries, SeriesBlock
from terralatent.pipeline.training.holdout import blocks_apart
from terralatent.pipeline.training.sources import Bands
from terralatent.pipeline.training.tables.columns import Columns, TableColumns, find_columns
from terralatent.pipeline.training.tables.index import (
    SeenTogether,
    column_times,
    column_values,
    index_table,
)

__all__ = ["TableCalendar", "is_table", "open_table"]

log = logging.getLogger(__name__)

ENDING = ".parquet"
"""Of a table among the cubes of a training."""

FEWEST_PIXELS = 64
"""Pixels of one calendar below which they share one with others of the kind."""

FILL = -32768
"""What stands for no value; none of a sensor is so low."""


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

    path: Path
    """Of the table."""

    identity: str
    """SHA-256 of the file, and which calendar of it."""

    columns: TableColumns
    """Where it has what."""

    days: Mapping[str, NDArray[np.float64]]
    """Days since 1970-01-01 UTC on which a sensor saw any of the pixels, ascending, (T,)."""

    sensors: Mapping[str, Bands]
    """The sensors that are used, and the bands that series have."""

    parts: tuple[Part, ...]
    """By row groups."""

    apart: tuple[bool, ...]
    """For each part, whether it is kept for validation."""

    masks: Masks = AS_STORED
    """None: what a table holds was seen."""

    snapshot: str = ""
    """None."""

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

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
        own = self.parts[part]
        table = pq.ParquetFile(self.path).read_row_groups(
            list(own.groups), [self.columns.time, *self.columns.values]
        )
        begin = np.repeat(own.starts - np.cumsum(own.counts) + own.counts, own.counts)
        rows = begin + np.arange(own.counts.sum()) - own.first
        days = column_times(table, self.columns.time)[rows] / US_PER_DAY
        pixel = np.repeat(np.arange(len(own.starts)), own.counts)
        by_sensor = {
            name: self._series(name, table, rows, pixel, days, len(own.starts))
            for name in self.sensors
        }
        return SeriesBlock.of((1, len(own.starts)), by_sensor)

    def classes(self, part: int) -> None:
        """A table has no labels."""

    def with_sensors(self, sensors: Mapping[str, Bands]) -> TableCalendar:
        """The same pixels with some sensors, whose series have the bands given."""
        return replace(self, sensors=dict(sensors))

    def keep_for(self, user: str) -> None:
        """A file is nobody's to keep; another one is noticed by its :attr:`identity`."""

    def _series(
        self,
        name: str,
        table: pa.Table,
        rows: NDArray[np.int64],
        pixel: NDArray[np.intp],
        days: NDArray[np.float64],
        pixels: int,
    ) -> SensorSeries:
        """What one sensor saw of the pixels, from their rows."""
        axis, wanted = self.days[name], self.sensors[name].names
        bands = {band: own for band, own in self.columns.bands[name].items() if band in wanted}
        packed = np.full((pixels, len(axis), len(bands)), FILL, np.float32)
        date = np.searchsorted(axis, days)
        there = np.flatnonzero((date < len(axis)) & (axis[np.minimum(date, len(axis) - 1)] == days))
        for place, column in enumerate(bands.values()):
            values = column_values(table, column)[rows[there]]
            packed[pixel[there], date[there], place] = np.where(np.isfinite(values), values, FILL)
        return SensorSeries(
            bands=tuple(bands),
            units=self.columns.units[name],
            days=axis,
            incidence=np.full(len(axis), np.nan, np.float32),
            packed=packed,
            clear=np.ones(packed.shape[:2], dtype=bool),
            distance=np.full(packed.shape[:2], DISTANCE_CAP, np.float32),
            scale_factor=1.0,
            add_offset=0.0,
            fill_value=FILL,
            wanted=wanted,
        )


def is_table(place: object) -> bool:
    """Whether what a training is given is a table, by its ending."""
    return str(place).endswith(ENDING)


def open_table(
    path: str | Path,
    sensors: Sequence[str] | None = None,
    *,
    seed: int,
    columns: Columns = None,
) -> tuple[TableCalendar, ...]:
    """Open a table of pixel series. Computes: reads it once, one row group after the other.

    Args:
        path: A Parquet file, local: columns ``pixel`` and ``time``, and one for each band, in
            physical units, NaN or null where it was not seen.
        sensors: Those to use; by default all of which it has bands.
        seed: Of the choice of the parts kept for validation.
        columns: Where it has what, if columns have other names.

    Returns:
        Its calendars, those with most pixels first.

    Raises:
        InputError: If there is no such file or it is damaged, a column is missing or of another
            type, the rows of a pixel are scattered or not in ascending time, or most values of a
            sensor are not in its units.
    """
    path = Path(path)
    try:
        file = pq.ParquetFile(path)
        digest = hashlib.file_digest(path.open("rb"), "sha256").hexdigest()
        found = find_columns(file.schema_arrow, str(path), columns, sensors)
        indexed = index_table(file, found, str(path))
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as a Parquet table: {reason}") from error
    common = [[own] for own in indexed if len(own.starts) >= FEWEST_PIXELS]
    rare = [own for own in indexed if len(own.starts) < FEWEST_PIXELS]
    ends = np.cumsum([file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)])
    calendars = [
        _calendar(path, f"{digest}/{number}", found, own, ends, seed)
        for number, own in enumerate([*common, rare] if rare else common)
    ]
    calendars = [calendar for calendar in calendars if calendar.sensors]
    if not calendars:
        raise InputError(f"{path} holds no value; a table has a row for each pixel and date.")
    log.info("%s: %d pixels in %d calendars", path, sum(sum(own.sizes) for own in calendars),
             len(calendars))  # fmt: skip
    return tuple(calendars)


def _calendar(
    path: Path,
    identity: str,
    columns: TableColumns,
    pixels: Sequence[SeenTogether],
    ends: NDArray[np.int64],
    seed: int,
) -> TableCalendar:
    """Lay pixels on the union of their times; ``ends`` are those of the row groups."""
    times = np.unique(np.concatenate([own.times for own in pixels]))
    days = {}
    for name in columns.bands:
        seen = np.zeros(len(times), dtype=bool)
        for own in pixels:
            seen[np.searchsorted(times, own.times[own.seen[name]])] = True
        if seen.any():
            days[name] = times[seen] / US_PER_DAY
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
    return TableCalendar(
        path=path,
        identity=identity,
        columns=columns,
        days=days,
        sensors={name: Bands(tuple(columns.bands[name]), columns.units[name]) for name in days},
        parts=tuple(parts),
        apart=tuple(map(bool, blocks_apart(np.ones(len(parts), dtype=bool), seed))),
    )
