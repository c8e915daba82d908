"""Series of pixels, each with dates of its own: what training, embedding and features take.

Rows of all pixels lie one after the other, so that thousands of different dates take no more than
the rows there are; only :mod:`terralatent.pipeline.tables.calendars` lays some pixels on shared
days.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from terralatent.models.observations import DISTANCE_CAP
from terralatent.pipeline.tables.columns import BESIDE, CARRY, FACTS, Columns, band_column
from terralatent.pipeline.tables.rows import (
    PIXEL,
    TIME,
    SensorRows,
    read_rows,
    require_whole,
    starts_of,
)
from terralatent.pipeline.tables.table import Table

if TYPE_CHECKING:
    import pandas

__all__ = ["Series"]


@dataclass(frozen=True, eq=False)
class Series:
    """Series of N pixels in R rows, in memory. Frozen; what makes another one copies.

    Examples:
        >>> import terralatent as tl
        >>> report = tl.extract("cube", "pixels.parquet", polygons="labels.geojson", label="crop")
        >>> series = tl.Series.from_table("pixels.parquet")
        >>> len(series), sorted(series.sensors)
        (144, ['sentinel-1-asc', 'sentinel-2-l2a'])
        >>> len(series.select(range(10)))
        10
    """

    pixels: pa.Table
    """``pixel``, and what is known of it (``lon``, ``lat``, ``group``, ``label``, ...), N rows."""

    offsets: NDArray[np.int64]
    """Where the rows of a pixel begin, and where the last ends, (N + 1,)."""

    times: NDArray[np.int64]
    """Microseconds since 1970 UTC, ascending within a pixel, (R,)."""

    sensors: Mapping[str, SensorRows]
    """By name."""

    @classmethod
    def from_table(
        cls,
        table: str | Path | pandas.DataFrame | pa.Table,
        columns: Columns = None,
        sensors: Sequence[str] | None = None,
    ) -> Series:
        """Read a table of pixel series into memory. Computes.

        Args:
            table: A ``.parquet`` or ``.csv`` file, or a frame: columns ``pixel`` and ``time``, and
                one for each band, in physical units, NaN or null where it was not seen. Rows of a
                frame or a CSV file may be in any order.
            columns: Where it has what, if columns have other names; see docs/tables.md.
            sensors: Those to use; by default all of which it has bands.

        Raises:
            InputError: If there is no such file or it is damaged, a column is missing or of another
                type, a pixel has two rows of one time, its attributes change, rows of a pixel in a
                Parquet file are scattered, or values are not in a sensor's units.
        """
        opened = Table.open(table, columns, sensors)
        rows = opened.read(range(len(opened.rows)))
        starts = starts_of(rows, opened.columns, opened.name)
        found = read_rows(rows, starts, opened.columns, opened.name)
        require_whole(found.pixels[PIXEL], opened.name)
        return cls(*found)

    def __len__(self) -> int:
        """The number of pixels N."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """Rows of each pixel, (N,)."""
        return np.diff(self.offsets)

    @property
    def pixel_of_row(self) -> NDArray[np.intp]:
        """The place of each row's pixel, (R,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def dates(self) -> NDArray[np.datetime64]:
        """The times as datetime64[us], (R,)."""
        return self.times.astype("datetime64[us]")

    def observations(self) -> dict[str, NDArray[np.int64]]:
        """For each sensor, how many rows of each pixel have any value of it, (N,)."""
        pixel = self.pixel_of_row
        return {
            name: np.bincount(pixel[own.observed], minlength=len(self))
            for name, own in self.sensors.items()
        }

    def select(self, pixels: NDArray[np.integer] | NDArray[np.bool_] | Sequence[int]) -> Series:
        """Some pixels, by their places, in that order, or by a mask of all (N,)."""
        chosen = np.arange(len(self))[np.asarray(pixels)]
        counts = self.counts[chosen]
        offsets = np.append(0, np.cumsum(counts))
        rows = np.repeat(self.offsets[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Series(
            self.pixels.take(pa.array(chosen)),
            offsets,
            self.times[rows],
            {name: own.take(rows) for name, own in self.sensors.items()},
        )

    def where(self, rows: NDArray[np.bool_]) -> Series:
        """The same pixels with some of their rows alone, by a mask of all (R,).

        A pixel may lose all: it is then without observations.
        """
        kept = np.bincount(self.pixel_of_row[rows], minlength=len(self))
        return Series(
            self.pixels,
            np.append(0, np.cumsum(kept)),
            self.times[rows],
            {name: own.take(rows) for name, own in self.sensors.items()},
        )

    def column(self, name: str) -> NDArray[np.generic]:
        """A column of :attr:`pixels`, such as ``label``, (N,).

        Raises:
            KeyError: If there is none of that name.
        """
        return np.asarray(self.pixels[name].to_numpy())

    def to_arrow(self) -> pa.Table:
        """The series as a table in long form that :meth:`from_table` reads back as it is.

        A pixel without rows has one at the first time of all, without values.
        """
        if (self.counts == 0).any():
            return _with_blanks(self).to_arrow()
        pixel = pa.array(self.pixel_of_row)
        data = {PIXEL: self.pixels[PIXEL].take(pixel)}
        data[TIME] = pa.array(self.times).cast(pa.timestamp("us", tz="UTC"))
        attributes = [name for name in self.pixels.column_names if name != PIXEL]
        data |= {name: self.pixels[name].take(pixel) for name in attributes}
        for name, own in self.sensors.items():
            for place, band in enumerate(own.bands):
                data[band_column(name, band)] = pa.array(own.values[:, place])
            for key in BESIDE:
                data[band_column(name, key)] = pa.array(getattr(own, key))
        facts = {
            "units": {name: own.units for name, own in self.sensors.items()},
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
                **{
                    key: np.insert(getattr(own, key), at, fill, axis=0)
                    for key, fill in blank.items()
                },
            )
            for name, own in series.sensors.items()
        },
    )
