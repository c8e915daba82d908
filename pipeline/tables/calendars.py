"""Pixels with dates of their own, laid on days that some of them share.

A posterior works on one calendar for all series of a batch, and a date that a pixel lacks is not
valid there. So a batch takes pixels whose dates are alike, and as many as the union of their dates
allows: one calendar for a whole table would be as long as all of its dates.

An acquisition is a time and, where it is known, an angle of incidence: pixels seen at one time at
different angles have two places on the axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from terralatent.models.observations import DISTANCE_CAP
from terralatent.pipeline.cube.series import US_PER_DAY, SensorSeries, SeriesBlock
from terralatent.pipeline.tables.rows import SensorRows
from terralatent.pipeline.tables.series import Series

__all__ = ["Axis", "alike", "axes_of", "lay", "signatures"]

FILL = -32768
"""What stands for no value; none of a sensor is so low."""


@dataclass(frozen=True, eq=False)
class Axis:
    """The acquisitions of one sensor, ascending by time, then by angle."""

    times: NDArray[np.int64]
    """Microseconds since 1970 UTC, may repeat, (T,)."""

    incidence: NDArray[np.float32]
    """Degrees, NaN where unknown, (T,)."""

    @classmethod
    def of(cls, times: NDArray[np.int64], incidence: NDArray[np.float32]) -> Axis:
        """The distinct acquisitions among those given, in any order, (R,) both."""
        pairs = np.unique(_pairs(times, incidence))
        return cls(pairs["time"].copy(), pairs["angle"].copy().view(np.float32))

    def places(self, times: NDArray[np.int64], incidence: NDArray[np.float32]) -> NDArray[np.intp]:
        """Where acquisitions are on the axis, -1 where they are not, (R,)."""
        own, wanted = _pairs(self.times, self.incidence), _pairs(times, incidence)
        if not len(own):
            return np.full(len(wanted), -1)
        place = np.searchsorted(own, wanted).clip(max=len(own) - 1)
        return np.where(own[place] == wanted, place, -1)

    @property
    def days(self) -> NDArray[np.float64]:
        """Days since 1970 UTC, (T,)."""
        return self.times / US_PER_DAY


def axes_of(series: Series) -> dict[str, Axis]:
    """For each sensor its acquisitions that any pixel has a value of."""
    return {
        name: Axis.of(series.times[own.observed], own.incidence[own.observed])
        for name, own in series.sensors.items()
    }


def lay(
    series: Series, axes: Mapping[str, Axis], bands: Mapping[str, Sequence[str]] | None = None
) -> SeriesBlock:
    """Lay series on axes; rows that are on none are left out.

    Args:
        series: Of N pixels, which become a row of as many.
        axes: Of the sensors that are used.
        bands: By sensor, those that observations are to have, such as a model's; those of the
            series where a sensor is not named.

    Returns:
        What goes through a model as a window of a cube does.
    """
    return SeriesBlock.of(
        (1, len(series)),
        {
            name: _laid(series, series.sensors[name], axis, tuple((bands or {}).get(name, ())))
            for name, axis in axes.items()
        },
    )


def signatures(series: Series) -> tuple[list[bytes], int]:
    """For each pixel, what is equal where all dates and angles are; and the bytes of a date."""
    angles = [
        _bits(own.incidence).astype(np.int64)
        for own in series.sensors.values()
        if np.isfinite(own.incidence).any()
    ]
    keys = np.ascontiguousarray(np.stack([series.times, *angles], axis=1))
    ends = series.offsets
    own = [keys[start:stop].tobytes() for start, stop in pairwise(ends)]
    return own, 8 * keys.shape[1]


def alike(series: Series, most: int, fewest: int = 1) -> Iterator[NDArray[np.intp]]:
    """Divide pixels into batches of like dates.

    In the order of their first date, and among these of their dates, a batch takes pixels until
    their number times the dates of all of them together is ``most``.

    Args:
        series: Of some thousand pixels.
        most: Pixels times dates.
        fewest: Pixels of a batch, whatever their dates.

    Yields:
        Places of pixels, ascending; each is in one batch.
    """
    own, width = signatures(series)
    began = [key[:0] if not key else series.times[start] for key, start in
             zip(own, series.offsets[:-1], strict=True)]  # fmt: skip
    batch: list[int] = []
    union: set[bytes] = set()
    before = None
    for place in sorted(
        range(len(own)), key=lambda place: (bool(own[place]), began[place], own[place])
    ):
        if own[place] != before:
            before = own[place]
            dates = {before[at : at + width] for at in range(0, len(before), width)}
        together = len(union) if dates <= union else len(union | dates)
        if len(batch) >= fewest and (len(batch) + 1) * together > most:
            yield np.sort(batch)
            batch, union = [], set()
        batch.append(place)
        union |= dates
    if batch:
        yield np.sort(batch)


def _laid(series: Series, own: SensorRows, axis: Axis, wanted: tuple[str, ...]) -> SensorSeries:
    kept = [place for place, band in enumerate(own.bands) if not wanted or band in wanted]
    shape = (len(series), len(axis.times))
    packed = np.full((*shape, len(kept)), FILL, np.float32)
    distance = np.full(shape, DISTANCE_CAP, np.float32)
    rows = np.flatnonzero(own.observed)
    place = axis.places(series.times[rows], own.incidence[rows])
    rows, place = rows[place >= 0], place[place >= 0]
    at = (series.pixel_of_row[rows], place)
    values = own.values[rows][:, kept]
    packed[at] = np.where(np.isnan(values), FILL, values)
    distance[at] = own.distance[rows]
    return SensorSeries(
        bands=tuple(own.bands[place] for place in kept),
        units=own.units,
        days=axis.days,
        incidence=axis.incidence,
        packed=packed,
        clear=np.ones(shape, dtype=bool),
        distance=distance,
        scale_factor=1.0,
        add_offset=0.0,
        fill_value=FILL,
        wanted=wanted or None,
    )


def _pairs(times: NDArray[np.int64], incidence: NDArray[np.float32]) -> NDArray[np.void]:
    """Times with angles, which compare as numbers do that are equal in all bits."""
    pairs = np.empty(len(times), dtype=[("time", np.int64), ("angle", np.int32)])
    pairs["time"], pairs["angle"] = times, _bits(incidence)
    return pairs


def _bits(incidence: NDArray[np.float32]) -> NDArray[np.int32]:
    """Angles by their bits; every NaN by the same, and -0 as 0."""
    plain = np.where(np.isnan(incidence), np.float32(np.nan), incidence + np.float32(0.0))
    return np.ascontiguousarray(plain, np.float32).view(np.int32)
