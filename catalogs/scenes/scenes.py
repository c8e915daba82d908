"""The result of a search: acquisitions, the fate of every item, kept as GeoParquet."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from shapely import union_all
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.documents.access import REFUSED, Access
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.item import footprint, sensed_at
from terralatent.catalogs.items.items_file import read_items, write_items
from terralatent.catalogs.listing import html_of, text_of
from terralatent.catalogs.period import Period
from terralatent.catalogs.printable import printable, printable_json
from terralatent.catalogs.scenes.acquisition import Acquisition, Fate
from terralatent.catalogs.scenes.aoi import describe_box, describe_extent
from terralatent.catalogs.scenes.duplicates import SAME_ACQUISITION
from terralatent.catalogs.scenes.passes import distinct, group_items
from terralatent.catalogs.scenes.rights import keep_rights, rights_of
from terralatent.catalogs.sources.registry import read_registry
from terralatent.catalogs.sources.sensors import Sensor, mask_by, pick_sensors, with_offsets
from terralatent.catalogs.sources.sources import SOURCES, Source, resolve_source

__all__ = ["Scenes"]

_LOG = logging.getLogger(__name__)

REASONS_LISTED = 10
"""Lines that say why items are left out."""


@dataclass(frozen=True, repr=False)
class Scenes:
    """The result of a search. Picklable; holds no pixels. Shown as a table of its sensors.

    Examples:
        >>> import terralatent as tl
        >>> scenes = tl.search_scenes("scenes", "region.geojson", "2018-05", "2018-05")
        >>> scenes.sensors, len(scenes.acquisitions("sentinel-2-l2a"))
        (('sentinel-2-l2a', 'sentinel-1-asc'), 4)
        >>> scenes.to_parquet("scenes.parquet")
        >>> tl.Scenes.from_parquet("scenes.parquet").sensors == scenes.sensors
        True
    """

    place: Source
    """Where they come from."""

    period: Period
    """First and last day of the request, both included."""

    wanted: tuple[Sensor, ...]
    """The requested sensors."""

    items: tuple[dict[str, Any], ...]
    """Every item of the search as the source gave it, but with absolute hrefs."""

    fates: tuple[Fate, ...]
    """What became of every item, ordered by sensor, time and id."""

    by_sensor: Mapping[str, tuple[Acquisition, ...]]
    """For each sensor that has scenes, its acquisitions."""

    access: Access = Access()  # noqa: RUF009 - it is frozen
    """What the items may name: it is checked again when their files are read."""
    mask: str | None = None
    """The requested mask band; None: the best that most scenes of a sensor have."""

    @classmethod
    def gather(
        cls,
        items: Iterable[dict[str, Any]],
        sensors: Sequence[Sensor],
        *,
        source: Source | str,
        period: Period,
        access: Access | None = None,
        mask: str | None = None,
    ) -> Scenes:
        """Group items into acquisitions.

        Items whose hrefs are not for ``access`` are dropped by name.

        Args:
            items: STAC items with absolute hrefs.
            sensors: The requested ones.
            source: Where the items come from, or a name for it where it is not registered.
            period: First and last day of the request.
            access: What the items may name; by default what the source grants by its TOML table,
                else what any catalogue elsewhere may: public hosts, and no file of this machine.
            mask: The mask band to take where a sensor may come with it.

        Raises:
            InputError: If ``mask`` is no mask band of any sensor.
        """
        place = source if isinstance(source, Source) else Source(source, "")
        access = access or (place.access if place.where else Access())
        kept = tuple(dict(item) for item in distinct(printable_json(item) for item in items))
        seen = [place.adapt(sensor) for sensor in sensors]
        by_sensor, fates = group_items(kept, seen if mask is None else mask_by(seen, mask), access)
        return cls(place, period, tuple(sensors), kept, fates, by_sensor, access, mask)

    @property
    def source(self) -> str:
        """Name or place of the source."""
        return self.place.name

    @property
    def requested(self) -> tuple[str, ...]:
        """Names of the requested sensors."""
        return tuple(sensor.name for sensor in self.wanted)

    def sensor(self, name: str) -> Sensor:
        """Return the sensor called ``name`` as the source has it.

        Raises:
            InputError: If it was not requested.
        """
        (sensor,) = pick_sensors([name], {sensor.name: sensor for sensor in self.wanted})
        return self.place.adapt(sensor)

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the sensors that have scenes, in the order of the request."""
        return tuple(self.by_sensor)

    def with_bands(self, bands: Mapping[str, Sequence[str]]) -> Scenes:
        """The same scenes, grouped anew by some bands of their sensors alone.

        Args:
            bands: By sensor; the others keep all of theirs.

        Raises:
            InputError: If a sensor has no such band.
        """
        wanted = [
            sensor.with_bands(bands[sensor.name]) if sensor.name in bands else sensor
            for sensor in self.wanted
        ]
        if wanted == list(self.wanted):
            return self
        return Scenes.gather(
            self.items, wanted, source=self.place, period=self.period, access=self.access,
            mask=self.mask,
        )  # fmt: skip

    def acquisitions(self, sensor: str) -> tuple[Acquisition, ...]:
        """Return the acquisitions of ``sensor`` in ascending, unique times; none where it has none.

        Raises:
            InputError: If there is no such sensor.
        """
        if sensor not in self.requested:
            pick_sensors([sensor])
        return self.by_sensor.get(sensor, ())

    def hrefs(self) -> Iterator[str]:
        """Yield the href of every file of the acquisitions."""
        for acquisitions in self.by_sensor.values():
            for acquisition in acquisitions:
                for item in acquisition.items:
                    yield from (asset["href"] for asset in item["assets"].values())

    @property
    def digest(self) -> str:
        """SHA-256 of the ids, times and fates: equal for equal acquisitions, wherever they lie."""
        lines = [f"{f.sensor} {f.time} {f.item_id} {f.fate}" for f in self.fates]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def __repr__(self) -> str:
        rows = [
            (name, f"{count} acquisitions", f"{first} to {last}")
            for name, count, first, last in self._rows()
        ]
        return text_of(self._head(), rows)

    def _repr_html_(self) -> str:
        return html_of(self._head(), self._rows(), ("sensor", "acquisitions", "first", "last"))

    def _head(self) -> str:
        first, last = self.period
        fates = Counter(fate.fate for fate in self.fates)
        counts = ", ".join(f"{count} {fate}" for fate, count in sorted(fates.items()))
        return f"Scenes of {self.source}, {first} to {last}: {len(self.items)} items ({counts})"

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [
            (name, str(len(kept)), str(kept[0].time)[:10], str(kept[-1].time)[:10])
            for name, kept in self.by_sensor.items()
            if kept
        ]

    def summary(self) -> str:
        """Say in one line how many acquisitions there are and what became of the items."""
        counts = [f"{len(kept)} {name}" for name, kept in self.by_sensor.items()]
        dropped = sum(fate.fate == "dropped" for fate in self.fates)
        merged = sum(fate.fate == "merged" for fate in self.fates)
        return (
            f"{', '.join(counts) or 'no'} acquisitions from {len(self.fates)} items "
            f"({merged} merged into another of their pass, {dropped} dropped)"
        )

    def left_out(self) -> tuple[str, ...]:
        """Say in a line for each reason how many items are left out, and which one for example.

        The most frequent come first. Copies of what is used do not count.
        """
        lost: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for fate in self.fates:
            if fate.fate == "dropped" and not fate.reason.startswith(SAME_ACQUISITION):
                lost[fate.sensor, fate.reason].append(fate.item_id)
        reasons = sorted(lost.items(), key=lambda reason: (-len(reason[1]), reason[0]))
        lines = [
            f"left out: {len(items)} items{' of ' if sensor else ''}{sensor}, such as {items[0]}: "
            f"{reason}"
            for (sensor, reason), items in reasons[:REASONS_LISTED]
        ]
        if rest := reasons[REASONS_LISTED:]:
            count = sum(len(items) for _, items in rest)
            lines.append(f"left out: {count} items more, for {len(rest)} other reasons")
        return tuple(lines)

    def to_parquet(self, path: str | Path) -> None:
        """Write the items and the search's own facts as stac-geoparquet, replacing ``path`` whole.

        What the items may name is noted on this machine, not in the file.

        Raises:
            InputError: If the file cannot be written.
        """
        facts = {
            "source": self.place.name,
            "period": [day.isoformat() for day in self.period],
            "sensors": list(self.requested),
            "mask": self.mask,
            "stated": {s.name: s.stated for s in self.wanted if s.stated is not None},
        }
        write_items(Path(path), self.items, facts)
        if SOURCES.get(self.place.name) != self.place:  # what is built in is known without a note
            keep_rights(Path(path), self.access)

    def require(self, aoi: BaseGeometry) -> None:
        """Check that there is anything to build for a region.

        Args:
            aoi: The region in EPSG:4326.

        Raises:
            InputError: If there is no acquisition, or none that touches the region.
        """
        if not self.sensors:
            if lost := [fate for fate in self.fates if fate.sensor]:
                raise InputError(
                    f"None of the {len(self.items)} items of {self.source} can be used; the first, "
                    f"{lost[0].item_id}: {lost[0].reason}."
                )
            known = ", ".join(sorted({str(item.get("collection")) for item in self.items}))
            raise InputError(
                f"None of the {len(self.items)} items of {self.source} is of "
                f"{', '.join(self.requested)}; they are of the collections {known}."
            )
        kept = [a for acquisitions in self.by_sensor.values() for a in acquisitions]
        shapes = [shape for a in kept for item in a.items if (shape := footprint(item)) is not None]
        if not any(shape.intersects(aoi) for shape in shapes):
            bounds = union_all([box(*shape.bounds) for shape in shapes]).bounds
            raise InputError(
                f"No scene touches the region {describe_box(aoi.bounds)}; the scenes of "
                f"{self.source} lie {describe_extent(bounds, aoi)}. Give their region, or "
                "search for scenes of yours."
            )

    @classmethod
    def from_parquet(
        cls,
        path: str | Path,
        described: Sequence[str | Path] = (),
        source: str | Path | Source | None = None,
    ) -> Scenes:
        """Read what :meth:`to_parquet` wrote, or any other stac-geoparquet file of scenes.

        What its items may name is what ``source`` grants, else the source of that name in the
        registry, else what a search of this user granted that wrote the file on this machine. Items
        of any other file may name public hosts, and files below the file's own folder. What the
        file itself says of that counts for nothing.

        Args:
            path: The file.
            described: TOML files of its source or sensors, where they are a user's own.
            source: Where its items come from, as :func:`resolve_source` takes it; by default what
                the file says, if that is known.

        Raises:
            InputError: If the file does not exist, is no stac-geoparquet, or holds no item; if
                its source or sensors are not known; or if none of its items may name its files.
        """
        where = Path(path).resolve()
        if not where.is_file():
            raise InputError(f"There is no file of scenes {str(path)!r}; make one by a search.")
        items, facts = read_items(where)
        if not items:
            raise InputError(f"The file of scenes {str(path)!r} holds no item.")
        known = read_registry(described)
        try:
            days = facts.get("period")
            period = _span(items) if days is None else _period(*days)
            sensors = with_offsets(
                pick_sensors(facts.get("sensors"), known.sensors), facts.get("stated")
            )
        except InputError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"The file of scenes {str(path)!r} is damaged: {error}. Search again."
            ) from error
        name = str(facts.get("source", path))
        registered = (
            known.sources.get(name) if source is None else resolve_source(source, known.sources)
        )
        noted = rights_of(where) if registered is None else registered.access
        scenes = cls.gather(
            items,
            sensors,
            source=registered or Source(name, ""),
            period=period,
            access=noted or Access.of(str(where)),
            mask=facts.get("mask"),
        )
        if noted is None:
            _name_refused(scenes, str(path), name)
        return scenes


def _name_refused(scenes: Scenes, path: str, source: str) -> None:
    """Say which items of a file that nobody vouches for name what they may not.

    Raises:
        InputError: If no other is left.
    """
    refused = [fate for fate in scenes.fates if REFUSED in fate.reason]
    if not refused:
        return
    message = (
        f"{len(refused)} of the {len(scenes.items)} items of {path!r} name files that they may "
        f"not, such as {refused[0].item_id}: {refused[0].reason}. No search of yours wrote this "
        f"file on this machine; if you trust it, give the source of its items by source= (it "
        f"says {printable(source)!r})."
    )
    if not scenes.sensors:
        raise InputError(message)
    _LOG.warning(message)


def _period(first: str, last: str) -> Period:
    return date.fromisoformat(first), date.fromisoformat(last)


def _span(items: Sequence[dict[str, Any]]) -> Period:
    times = [time for item in items if (time := sensed_at(item)) is not None]
    if not times:
        raise ValueError("none of its items states when it was sensed")
    first, last = (time.astype("datetime64[D]").astype(date) for time in (min(times), max(times)))
    return first, last
