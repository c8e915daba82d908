"""The time axis of a sensor: its dates as a search finds them, and as a cube holds them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.item import changed_at
from terralatent.pipeline.store.arrays import ArrayLayout, coordinate, time_array

if TYPE_CHECKING:  # who opens a cube reads no catalogue
    from terralatent.catalogs.scenes.acquisition import Acquisition
    from terralatent.pipeline.cube.items import ItemRow

__all__ = ["PER_DATE", "CubeDate", "Parts", "date_arrays", "found_dates", "stored_dates"]

PER_DATE: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "platform": ("object", {"long_name": "platform"}),
    "orbit": ("int32", {"long_name": "relative orbit or WRS path, -1 unknown"}),
    "baseline": ("object", {"long_name": "processing baseline"}),
    "scale": ("float64", {"long_name": "scale of the first item, taken into account"}),
    "offset": ("float64", {"long_name": "offset of the first item, taken into account"}),
    "offset_from": ("object", {"long_name": "who stated the offset of the first item"}),
    "cloud_cover": ("float32", {"units": "percent", "long_name": "cloud cover"}),
    "incidence": ("float32", {"units": "degree", "long_name": "angle of incidence"}),
}
"""Coordinates along time that say where an acquisition comes from: dtype and attributes. Older
cubes lack some."""

SAME_ITEM = np.timedelta64(1, "D")
"""Two times this near may be stated of one item, before and after it was changed; ids that lie
farther apart are used twice."""

Parts: TypeAlias = frozenset[tuple[str, float, float]]
"""Id, scale and offset of each item of a date."""


@dataclass(frozen=True, eq=False)
class CubeDate:
    """An entry of a sensor's time axis."""

    time: np.datetime64
    """datetime64[us], UTC."""

    facts: Mapping[str, Any]
    """Its coordinates, by the names of :data:`PER_DATE`."""

    parts: Parts
    """What it is made of: two dates of the same parts have the same pixels."""

    acquisition: Acquisition | None = None
    """Where its files are; None for one that the search did not find."""

    updated: Mapping[str, str] = field(default_factory=dict)
    """For each id when its item was last changed, by its own word; empty where unknown."""

    stored: int | None = None
    """Its index on the cube's time axis; None: it has no pixels yet."""

    @property
    def ids(self) -> frozenset[str]:
        """Ids of its items."""
        return frozenset(name for name, _, _ in self.parts)


def found_dates(acquisitions: Sequence[Acquisition]) -> tuple[CubeDate, ...]:
    """The dates that a search found, ascending."""
    return tuple(
        CubeDate(
            acquisition.time,
            {name: getattr(acquisition, name) for name in PER_DATE},
            frozenset(
                (str(item["id"]), float(scaling.scale), float(scaling.offset))
                for item, scaling in zip(acquisition.items, acquisition.scalings, strict=True)
            ),
            acquisition,
            {str(item["id"]): changed_at(item) for item in acquisition.items},
        )
        for acquisition in acquisitions
    )


def stored_dates(
    group: zarr.Group, name: str, rows: Sequence[ItemRow], searched: Sequence[CubeDate] = ()
) -> tuple[CubeDate, ...]:
    """The dates that a cube holds, ascending; reads coordinates.

    Args:
        group: Of the sensor.
        name: Of the sensor.
        rows: The cube's items.
        searched: What a search found: a date of the same items lends its files, one of the same
            scaling first.

    Raises:
        InputError: If an older version made the cube, which noted less.
    """
    parts: dict[str, set[tuple[str, float, float]]] = defaultdict(set)
    updated: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row.sensor == name and row.fate != "dropped":
            parts[str(row.acquisition)].add((row.id, float(row.scale), float(row.offset)))
            updated[str(row.acquisition)][row.id] = str(row.updated)
    same: defaultdict[frozenset[str], list[CubeDate]] = defaultdict(list)
    for date in searched:
        same[date.ids].append(date)
    times: Any = group["time"]
    axis = np.asarray(times[...]).astype("datetime64[us]")
    if missing := [column for column in PER_DATE if column not in group]:
        raise InputError(
            f"An older version of terralatent made this cube, without {', '.join(missing)} of its "
            "dates; build it anew."
        )
    facts: dict[str, Any] = {column: group[column] for column in PER_DATE}
    columns = {column: np.asarray(array[...]) for column, array in facts.items()}
    made = []
    for index, time in enumerate(axis):
        own = frozenset(parts[str(time)])
        coordinates = {column: values[index] for column, values in columns.items()}
        date = CubeDate(time, coordinates, own, None, updated[str(time)], index)
        made.append(replace(date, acquisition=_files(date, same[date.ids])))
    return tuple(made)


def _files(date: CubeDate, same: Sequence[CubeDate]) -> Acquisition | None:
    """Where the files of a stored date are, among found ones of the same items."""
    near = [found for found in same if abs(found.time - date.time) <= SAME_ITEM]
    near.sort(key=lambda found: (found.parts != date.parts, abs(found.time - date.time)))
    return near[0].acquisition if near else None


def date_arrays(dates: Sequence[CubeDate]) -> tuple[ArrayLayout, ...]:
    """Lay out ``time`` and the coordinates along it."""
    return (
        time_array("time", "time", [date.time for date in dates]),
        *(
            coordinate(name, ("time",), np.array([d.facts[name] for d in dates], dtype), attrs)
            for name, (dtype, attrs) in PER_DATE.items()
        ),
    )
