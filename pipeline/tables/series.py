"""Series of pixels, each with dates of its own: the value that training, embedding and features take.

Rows of all pixels lie one after the other, so that thousands of different dates take no more than
the rows there are; only :mod:`terralatent.pipeline.tables.calendars` lays some pixels on shared
days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas

    from terralatent.pipeline.tables.columns import Columns

__all__ = ["SensorRows", "Series"]


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
        return np.isfinite(self.values).any(axis=1)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> SensorRows:
        """Some rows, by their places or a mask of all."""
        return replace(
            self,
            values=self.values[rows],
            incidence=self.incidence[rows],
            distance=self.distance[rows],
        )


@dataclass(frozen=True, eq=False)
class Series:
    """Series of N pixels in R rows, in memory. Frozen; what makes another one copies."""

    pixels: pa.Table
    """``pixel``, and what else is known of each: ``lon``, ``lat``, ``group``, ``label``, ...; N rows.
    """

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
            table: A ``.parquet`` or ``.csv`` file, or a frame: columns ``pixel`` and ``time``, and one
                for each band, in physical units, NaN or null where it was not seen. Rows of a frame
                or a CSV file may be in any order.
            columns: Where it has what, if columns have other names; see docs/tables.md.
            sensors: Those to use; by default all of which it has bands.

        Raises:
            InputError: If there is no such file or it is damaged, a column is missing or of another
                type, a pixel has two rows of one time, its attributes change, rows of a pixel in a
                Parquet file are scattered, or values are not in a sensor's units.
        """
        from terralatent.pipeline.tables.rows import read_all
        from terralatent.pipeline.tables.table import Table

        return read_all(Table.open(table, columns, sensors))

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
        from terralatent.pipeline.tables.rows import to_rows

        return to_rows(self)
