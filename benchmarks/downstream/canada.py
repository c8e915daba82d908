"""Crops of Canada in 2017: pixel series of twelve months, their labels, and folds by cell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from terralatent.pipeline import Series

__all__ = ["FOLDS", "MONTHS", "RADAR", "SENSORS", "Crops", "Fold", "read_canada"]

OPTICAL, RADAR = "sentinel-2-l2a", "sentinel-1-asc"
SENSORS = (OPTICAL, RADAR)
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")
COLUMNS: dict[str, Any] = {
    "pixel": "sample",
    "time": "date",
    "group": "cell",
    "label": "crop",
    OPTICAL: dict(zip(BANDS, BANDS, strict=True)),
    RADAR: {"vv": "VV", "vh": "VH"},
}
"""The orbit is not stated; ascending is taken."""

FEWEST = 75
"""Pixels of a class."""

NO_CLASS = 0
"""Of the column ``crop``."""

MONTHS = 12
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Fold:
    """Places of pixels; no cell has pixels in both."""

    number: int
    training: NDArray[np.intp]
    test: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Crops:
    """Labelled series of N pixels, one row a month each."""

    series: Series
    dates: tuple[str, ...]
    """The first of each month, where the rows are."""

    classes: tuple[str, ...]
    """Codes of crops, ascending."""

    target: NDArray[np.intp]
    """Place of the class, (N,)."""

    cells: NDArray[np.intp]
    """Number of the cell, (N,)."""

    folds: tuple[Fold, ...]

    @property
    def values(self) -> NDArray[np.float32]:
        """What was seen, NaN where nothing was, (N, month, band): optical bands, then radar's."""
        parts = [self.series.sensors[name].values for name in SENSORS]
        return np.concatenate(parts, axis=1).reshape(len(self.target), len(self.dates), -1)

    def hidden(self, rows: NDArray[np.bool_]) -> Series:
        """The series without what is hidden, (N, month, sensor), in the order of ``SENSORS``."""
        flat = rows.reshape(-1, len(SENSORS))
        sensors = {}
        for place, name in enumerate(SENSORS):
            own = self.series.sensors[name]
            values = np.where(flat[:, place, None], np.float32(np.nan), own.values)
            sensors[name] = type(own)(own.bands, own.units, values, own.incidence, own.distance)
        series = self.series
        return Series(series.pixels, series.offsets, series.times, sensors)


def read_canada(path: Path, *, seed: int = 0) -> Crops:
    """Read the table: crops with 75 pixels or more, the months of 2017, five folds by cell.

    Args:
        path: See ``../shared/tables``.
        seed: Of the folds; those of 0 are reported, others are for development.
    """
    frame = pd.read_parquet(path)
    frame = frame[(frame["date"] >= "2017-01-01") & (frame["date"] < "2018-01-01")]
    counts = frame.groupby("sample")["crop"].first().value_counts()
    known = [code for code in counts.index[counts >= FEWEST] if code != NO_CLASS]
    series = Series.from_table(frame[frame["crop"].isin(known)], COLUMNS)
    classes, target = np.unique(series.column("label"), return_inverse=True)
    _, cells = np.unique(series.column("group"), return_inverse=True)
    dealer = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    folds = dealer.split(np.zeros(len(target)), target, cells)
    return Crops(
        series,
        tuple(str(date)[:10] for date in np.unique(series.dates)),
        tuple(map(str, classes)),
        target,
        cells,
        tuple(Fold(number, training, test) for number, (training, test) in enumerate(folds)),
    )
