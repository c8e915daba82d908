"""How a cube is read: as it was when, masked how, and what of it was known by a day."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.moments import Moment, read_span
from terralatent.catalogs.sources.sensors import SENSORS, Sensor
from terralatent.pipeline.cube.masking import AS_STORED, MaskingRequest, Masks, mask_bands, settle
from terralatent.pipeline.store.history import find_snapshot
from terralatent.pipeline.store.repository import Store

__all__ = ["LATEST", "NEWEST", "Known", "Reading", "Until", "UntilRequest", "known_by"]

LATEST = np.timedelta64(30, "D")
"""An item that states to have come later than this after it was sensed is of an archive that was
processed or taken up anew, and says nothing of what was known in season."""

DAY = np.timedelta64(1, "D")
MICROSECOND = np.timedelta64(1, "us")
DAY_US = 86_400_000_000

COLUMNS = ("sensor", "fate", "time", "acquisition", "available")
"""Of the table of items, what is read."""

Places: TypeAlias = slice | NDArray[np.intp]
"""Of dates on a sensor's time axis, ascending."""


@dataclass(frozen=True)
class Until:
    """By when what is used of a cube was there, and how long its products take.

    A date alone will do wherever one of these is taken; this is for delays of your own.

    Examples:
        >>> import terralatent as tl
        >>> until = tl.Until("2017-11-30", delays={"sentinel-2-l2a": 3})
        >>> dict(tl.embed("cube", dates="2017-12-15", until=until).sizes)
        {'time': 1, 'latent': 16, 'y': 18, 'x': 18, 'sensor': 2}
    """

    date: Moment
    """All of that day, or up to that time; UTC."""

    delays: Mapping[str, float] = field(default_factory=dict)
    """Days from sensing until the products of a sensor are there, where items do not say; of
    sensors that are not named what the cube says."""


UntilRequest: TypeAlias = Moment | Until | None
"""A date, an :class:`Until`, or None: all of the cube."""


@dataclass(frozen=True)
class Known:
    """What of a cube was there by a moment. Hashable and small: every task carries it.

    A date of the cube was there once all its items were. An item was there when it says so
    (:attr:`terralatent.pipeline.cube.items.ItemRow.available`), if that is after it was sensed and
    at most :data:`LATEST` after; else the delay of its sensor after it was sensed.
    """

    last: np.datetime64
    """The last moment that counts, datetime64[us], UTC."""

    delays: tuple[tuple[str, float], ...]
    """Days, by sensor."""

    @classmethod
    def from_attrs(cls, attrs: Mapping[str, Any]) -> Known | None:
        """What a result says of itself, see :meth:`to_json`; None where it is of all dates."""
        if "until" not in attrs:
            return None
        last = read_span(attrs["until"], "until is no date: {value}").last
        return cls(last, tuple(sorted(dict(attrs["delays"]).items())))

    def of(self, sensors: Sequence[str]) -> Known:
        """The same of some of the sensors."""
        return Known(self.last, tuple(own for own in self.delays if own[0] in sensors))

    def came(self, root: zarr.Group, sensor: str) -> NDArray[np.datetime64]:
        """When each date of a sensor was there, datetime64[us], (T,). Reads coordinates.

        Args:
            root: Of the cube.
            sensor: One of its sensors.
        """
        axis: Any = root[f"{sensor}/time"]
        times = np.asarray(axis[...]).astype("datetime64[us]")
        delay: Any = np.timedelta64(round(dict(self.delays)[sensor] * DAY_US), "us")
        delayed = times + delay
        table: Any = root.get("items")
        if table is None or "available" not in table:  # an older version made it
            return delayed
        columns = {name: np.asarray(table[name][...]) for name in COLUMNS}
        of = columns["acquisition"].astype("datetime64[us]")
        kept = (columns["sensor"] == sensor) & (columns["fate"] != "dropped") & np.isin(of, times)
        place, sensed = np.searchsorted(times, of[kept]), columns["time"][kept]
        said = columns["available"][kept].astype(object).astype(str)
        said = np.where(said == "", "NaT", said).astype("datetime64[us]")
        gap = said - sensed.astype("datetime64[us]")
        true = (gap > np.timedelta64(0)) & (gap <= LATEST)
        came = times.copy()
        np.maximum.at(came, place, np.where(true, said, delayed[place]))
        return np.where(np.isin(np.arange(len(times)), place), came, delayed)

    def places(self, root: zarr.Group, sensor: str) -> Places:
        """Which dates of a sensor were there. Reads coordinates.

        Returns:
            A slice where they follow one another, as they do unless some came late.
        """
        there = np.flatnonzero(self.came(root, sensor) <= self.last)
        if not len(there):
            return slice(0, 0)
        first, end = int(there[0]), int(there[-1]) + 1
        return slice(first, end) if end - first == len(there) else there

    def times(self, root: zarr.Group, sensor: str) -> NDArray[np.datetime64]:
        """Times of the dates of a sensor that were there, datetime64[us]. Reads coordinates."""
        axis: Any = root[f"{sensor}/time"]
        return np.asarray(axis[...]).astype("datetime64[us]")[self.places(root, sensor)]

    def to_json(self) -> dict[str, Any]:
        """The entries of identity and attributes of a result."""
        last, day = str(self.last), str(self.last.astype("datetime64[D]"))
        whole = self.last == np.datetime64(day, "us") + DAY - MICROSECOND
        return {"until": day if whole else last, "delays": dict(self.delays)}


def known_by(root: zarr.Group, sensors: Sequence[str], until: UntilRequest) -> Known | None:
    """Settle what of some sensors was there. Reads coordinates.

    Args:
        root: Of a cube.
        sensors: Those that are read.
        until: What a caller requests; None: all, which is None again.

    Raises:
        InputError: If it is no date, a delay is of none of the sensors or no number of days, or
            nothing was there.
    """
    if until is None:
        return None
    request = until if isinstance(until, Until) else Until(until)
    wrong = "{value} (until=) is no date; give one such as 2018-06-01, or a time such as "
    last = read_span(request.date, wrong + "2018-06-01T12:00.").last
    delays = {name: _delay_of(root, name) for name in sensors}
    for name, days in request.delays.items():
        if name not in delays:
            raise InputError(
                f"A delay is stated for {name}, but what is read of the cube are "
                f"{', '.join(delays)}; leave delays= of {name} out."
            )
        if isinstance(days, bool) or not math.isfinite(days) or days < 0:
            raise InputError(
                f"The delay {days!r} of {name} is no number of days; give one from 0 on, such as "
                f'delays={{"{name}": 2}}.'
            )
        delays[name] = float(days)
    known = Known(last, tuple(sorted(delays.items())))
    came = [(moment, name) for name in sensors for moment in known.came(root, name)]
    if not came or min(came)[0] > last:
        first = f"; the first, of {min(came)[1]}, was there on {str(min(came)[0])[:16]}"
        raise InputError(
            f"Nothing of the cube was there by {str(last)[:16]}{first if came else ''}. Give a "
            "later until=, or a shorter one of delays=."
        )
    return known


def _delay_of(root: zarr.Group, sensor: str) -> float:
    """Days from sensing until products of a sensor are there: as described when its cube was built,
    else as it is described now."""
    described = SENSORS[sensor].delay if sensor in SENSORS else Sensor.delay
    stated: Any = root[sensor].attrs.get("delay", described)
    return float(stated)


@dataclass(frozen=True)
class Reading:
    """What a caller requests of a cube that is read: by default the newest, masked as trained."""

    masking: MaskingRequest = None
    """How the sensors are masked; as a model was trained, where that leaves something open."""

    at: str | None = None
    """An earlier snapshot, see :func:`terralatent.pipeline.store.history.find_snapshot`."""

    until: UntilRequest = None
    """By when what is used of it was there; None: all that it holds."""

    def open(self, cube: Store) -> tuple[zarr.Group, str]:
        """Open the root of a cube, and give its snapshot, empty for plain Zarr. Reads no pixels.

        Raises:
            InputError: If there is no cube or no such snapshot.
        """
        cube.group(kind="cube")  # raises, and names what is there instead
        snapshot = find_snapshot(cube, self.at) or cube.snapshot()
        return cube.group(kind="cube", snapshot=snapshot or None), snapshot

    def masks(self, root: zarr.Group, sensors: Sequence[str], before: Masks = AS_STORED) -> Masks:
        """Settle how the sensors of a cube are masked. Reads no pixels.

        Args:
            root: Of the cube.
            sensors: Those that are read.
            before: What holds where the request leaves something open: how a model was trained.

        Raises:
            InputError: If they cannot be masked so, see
                :func:`terralatent.pipeline.cube.masking.settle`.
        """
        return settle(mask_bands(root, sensors), self.masking, before)


NEWEST = Reading()
"""The newest snapshot, masked as a model was trained."""
