"""Read units: what one task of a build reads and writes, and which are open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.acquisition import Acquisition
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.sensors import Sensor
from terralatent.catalogs.sources.sources import Source
from terralatent.pipeline.cube.layout import DATES_A_SHARD
from terralatent.pipeline.cube.losses import Entry, Loss, entries_within, told_losses
from terralatent.pipeline.cube.states import PARTIAL, PENDING
from terralatent.pipeline.cube.time_axis import CubeDate, found_dates, stored_dates
from terralatent.pipeline.ingest.growing import MOVED
from terralatent.pipeline.ingest.growth import require_rows
from terralatent.pipeline.ingest.windows import UnitCut
from terralatent.pipeline.region import Block

__all__ = ["GoneError", "ReadUnit", "open_units"]


class GoneError(InputError):
    """A date has no pixels yet, and a search does not find its scenes."""


@dataclass(frozen=True, eq=False)
class ReadUnit:
    """What one task reads and writes: whole shards of one sensor. Picklable and small."""

    sensor: Sensor
    """The sensor, as its source sees it."""

    shard: int
    """Index of the time shard."""

    count: int
    """Dates of the shard."""

    window: Block
    """Pixels of the grid; its edges are edges of blocks."""

    block: int
    """Pixels along y and x of a block."""

    places: tuple[int, ...]
    """Places within the shard of the dates that are read, ascending."""

    acquisitions: tuple[Acquisition, ...]
    """What is read there."""

    kept: tuple[tuple[int, int], ...]
    """Places of the other dates, whose pixels the store has, and their indices on its time axis."""

    base: str | None
    """The snapshot in which it has them; None: the newest."""

    known: tuple[Loss, ...]
    """What is missing from the dates that are not read."""

    grid: GeoBox
    """The cube's grid."""

    source: Source
    """Where the files come from."""

    access: Access
    """What files may be read."""

    together: int
    """Dates that are read together."""

    @property
    def dates(self) -> slice:
        """Dates of the sensor's time axis."""
        start = self.shard * DATES_A_SHARD
        return slice(start, start + self.count)

    @property
    def states(self) -> tuple[int, slice, slice]:
        """Where this unit lies in the sensor's ``state`` array."""
        y, x = self.window.y, self.window.x
        size = self.block
        return (
            self.shard,
            slice(y.start // size, -(-y.stop // size)),
            slice(x.start // size, -(-x.stop // size)),
        )

    @property
    def name(self) -> str:
        """What messages and the store call this unit: shard, first row and column of pixels."""
        return f"{self.shard}/{self.window.y.start}/{self.window.x.start}"


def open_units(
    cube: Any, scenes: Scenes, pixels: GeoBox, block: int, cuts: Mapping[str, UnitCut]
) -> Iterator[ReadUnit]:
    """Yield the read units of a cube that are not done; reads states and coordinates, no pixels.

    Of a unit that is partial only the dates are read again of which something is missing; of one
    that is pending all, but those that only moved since the cube began to grow.

    Args:
        cube: Root group.
        scenes: What a search found; a date that it does not find is not read again.
        pixels: Its grid.
        block: Pixels along y and x of a block.
        cuts: For each sensor, its windows, see
        :func:`terralatent.pipeline.ingest.windows.unit_cut`.

    Raises:
        GoneError: If a date has no pixels yet and the search does not find it.
    """
    rows = require_rows(cube)
    for name, cut in cuts.items():
        group = cube[name]
        dates = stored_dates(group, name, rows, found_dates(scenes.acquisitions(name)))
        state = np.asarray(group["state"][...])
        for shard in range(state.shape[0]):
            axis = dates[shard * DATES_A_SHARD : (shard + 1) * DATES_A_SHARD]
            for window in cut.windows:
                unit = ReadUnit(
                    sensor=scenes.sensor(name),
                    shard=shard,
                    count=len(axis),
                    window=window,
                    block=block,
                    grid=pixels,
                    source=replace(scenes.place, where=""),  # may hold a key; no file is read by it
                    access=scenes.access,
                    together=cut.together,
                    **_NOTHING,
                )
                states = state[unit.states]
                if (states == PENDING).any():
                    yield replace(unit, **_pending(group, unit, axis))
                elif (states == PARTIAL).any():
                    what = _partial(group, unit, axis)
                    if what["acquisitions"]:
                        yield replace(unit, **what)


_NOTHING: dict[str, Any] = {
    "places": (),
    "acquisitions": (),
    "kept": (),
    "base": None,
    "known": (),
}


def _pending(group: Any, unit: ReadUnit, axis: Sequence[CubeDate]) -> dict[str, Any]:
    """All dates of a unit that has no pixels, or those of another place on the time axis."""
    moved: Any = group.attrs.get(MOVED)
    index = [-1] * len(axis)
    if moved is not None and unit.shard >= moved["shard"]:
        index = moved["index"][unit.dates]
    read = [place for place, old in enumerate(index) if old < 0]
    gone = [axis[place] for place in read if axis[place].acquisition is None]
    if gone:
        items = ", ".join(sorted(item for date in gone for item in date.ids)[:3])
        raise GoneError(
            f"The cube has no pixels yet of {len(gone)} dates of {unit.sensor.name} that this "
            f"search does not find ({items}, ...); search as it was begun, or remove it."
        )
    known: list[Loss] = []
    if moved is not None:
        entries = entries_within(moved["losses"], range(len(moved["index"])), unit.window)
        known = _missing(entries, [axis[place] for place, old in enumerate(index) if old >= 0])
    return {
        **_to_read(read, axis),
        "kept": tuple((place, old) for place, old in enumerate(index) if old >= 0),
        "base": None if moved is None else moved["from"],
        "known": tuple(known),
    }


def _partial(group: Any, unit: ReadUnit, axis: Sequence[CubeDate]) -> dict[str, Any]:
    """The dates of a unit of which something is missing, as far as their files are known."""
    entries = entries_within(group.attrs["losses"], [unit.shard], unit.window)
    lost = {str(entry["item"]) for entry in entries}
    wanted = [
        date.acquisition is not None and (bool(date.ids & lost) or not entries) for date in axis
    ]
    kept = [place for place, read in enumerate(wanted) if not read]
    return {
        **_to_read([place for place, read in enumerate(wanted) if read], axis),
        "kept": tuple((place, unit.dates.start + place) for place in kept),
        "known": tuple(_missing(entries, [axis[place] for place in kept])),
    }


def _to_read(places: Sequence[int], axis: Sequence[CubeDate]) -> dict[str, Any]:
    return {
        "places": tuple(places),
        "acquisitions": tuple(axis[place].acquisition for place in places),
    }


def _missing(entries: Sequence[Entry], dates: Sequence[CubeDate]) -> list[Loss]:
    """What is missing from some dates."""
    ids = {item for date in dates for item in date.ids}
    return [loss for loss in told_losses(entries) if loss.item in ids]
