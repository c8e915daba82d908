"""Where in a table the rows of each pixel are, and which pixels share a calendar."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terralatent.pipeline.tables.calendars import signatures
from terralatent.pipeline.tables.reading import chunks
from terralatent.pipeline.tables.series import Series
from terralatent.pipeline.tables.table import Table

__all__ = ["SeenTogether", "index_table", "share_calendars"]

FEWEST_PIXELS = 64
"""Pixels of one calendar below which they share one with others of the kind."""

MOST_DATES = 2048
"""Of such a calendar, where it has :data:`FEWEST_PIXELS` pixels."""


@dataclass(frozen=True, eq=False)
class SeenTogether:
    """Pixels whose rows have the same times and angles."""

    times: NDArray[np.int64]
    """Microseconds since 1970, ascending, (T,)."""

    incidence: Mapping[str, NDArray[np.float32]]
    """By sensor, degrees, (T,)."""

    seen: Mapping[str, NDArray[np.bool_]]
    """By sensor, whether any of the pixels has a value then, (T,)."""

    starts: array[int]
    """First row of each pixel, counted in the table."""


def index_table(table: Table) -> list[SeenTogether]:
    """Find the rows of each pixel of a table. Computes: reads it once, by row groups.

    Returns:
        Pixels by the times of their rows, in the order in which these first occur.

    Raises:
        InputError: See :func:`terralatent.pipeline.tables.reading.chunks`.
    """
    found: dict[bytes, SeenTogether] = {}
    for first, series in chunks(table):
        seen = {name: own.observed for name, own in series.sensors.items()}
        for place, key in enumerate(signatures(series)[0]):
            rows = slice(int(series.offsets[place]), int(series.offsets[place + 1]))
            if key not in found:
                found[key] = _first(series, rows)
            same = found[key]
            same.starts.append(first + rows.start)
            for name, some in seen.items():
                np.logical_or(same.seen[name], some[rows], out=same.seen[name])
    return list(found.values())


def _first(series: Series, rows: slice) -> SeenTogether:
    times = series.times[rows].copy()
    return SeenTogether(
        times,
        {name: own.incidence[rows].copy() for name, own in series.sensors.items()},
        {name: np.zeros(len(times), dtype=bool) for name in series.sensors},
        array("q"),
    )


def share_calendars(indexed: Sequence[SeenTogether]) -> Iterator[list[SeenTogether]]:
    """Those that share a calendar: many of the same dates, or few of dates that are alike."""
    for own in indexed:
        if len(own.starts) >= FEWEST_PIXELS:
            yield [own]
    rare = [own for own in indexed if len(own.starts) < FEWEST_PIXELS]
    rare.sort(key=lambda own: (own.times[0], own.times.tobytes()))
    some: list[SeenTogether] = []
    union: set[int] = set()
    for own in rare:
        together = union | set(own.times.tolist())
        if len(together) > MOST_DATES and sum(len(one.starts) for one in some) >= FEWEST_PIXELS:
            yield some
            some, together = [], set(own.times.tolist())
        some, union = [*some, own], together
    if some:
        yield some
