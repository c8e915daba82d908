"""The result of a search: acquisitions, the fate of every item, kept as GeoParquet."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rustac
from shapely import union_all
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.acquisition import Acquisition, Fate
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.item import footprint, sensed_at
from terralatent.catalogs.outline import reach_of
from terralatent.catalogs.passes import group_items, in_order
from terralatent.catalogs.period import Period
from terralatent.catalogs.sensors import SENSORS, Sensor, mask_by, pick_sensors
from terralatent.catalogs.static import read_parquet

__all__ = ["Scenes"]

_KEY = b"terralatent:search"


@dataclass(frozen=True)
class Scenes:
    """What a search found. Picklable; holds no pixels."""

    source: str
    """Name or place of the source."""

    signing: str | None
    """How hrefs are signed before they are read; None: not at all."""

    period: Period
    """First and last day asked for, both included."""

    asked: tuple[str, ...]
    """Names of the sensors asked for."""

    items: tuple[dict[str, Any], ...] = field(repr=False)
    """Every item of the search as the source gave it, but with absolute hrefs."""

    fates: tuple[Fate, ...] = field(repr=False)
    """What became of every item, ordered by sensor, time and id."""

    by_sensor: Mapping[str, tuple[Acquisition, ...]] = field(repr=False)
    """For each sensor that has scenes, its acquisitions."""

    mask: str | None = None
    """The mask band asked for; None: the best that most scenes of a sensor have."""

    @classmethod
    def gather(
        cls,
        items: Iterable[dict[str, Any]],
        sensors: Sequence[Sensor],
        *,
        source: str,
        period: Period,
        signing: str | None = None,
        mask: str | None = None,
    ) -> Scenes:
        """Group ``items``, STAC items with absolute hrefs, into acquisitions of ``sensors``.

        Raises:
            InputError: If ``mask`` is no mask band of any sensor.
        """
        kept = tuple(items)
        masked = sensors if mask is None else mask_by(sensors, mask)
        by_sensor, fates = group_items(kept, masked)
        asked = tuple(sensor.name for sensor in sensors)
        return cls(source, signing, period, asked, kept, fates, by_sensor, mask)

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the sensors that have scenes, in the order of ``SENSORS``."""
        return tuple(self.by_sensor)

    def acquisitions(self, sensor: str) -> tuple[Acquisition, ...]:
        """Return the acquisitions of ``sensor`` in ascending, unique times; none where it has none.

        Raises:
            InputError: If there is no such sensor.
        """
        if sensor not in SENSORS:
            pick_sensors([sensor])
        return self.by_sensor.get(sensor, ())

    @property
    def digest(self) -> str:
        """SHA-256 of the ids, times and fates: equal for equal acquisitions, wherever they lie."""
        lines = [f"{f.sensor} {f.time} {f.item_id} {f.fate}" for f in self.fates]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def summary(self) -> str:
        """Say in one line how many acquisitions there are and what became of the items."""
        counts = [f"{len(found)} {name}" for name, found in self.by_sensor.items()]
        dropped = sum(fate.fate == "dropped" for fate in self.fates)
        merged = sum(fate.fate == "merged" for fate in self.fates)
        return (
            f"{', '.join(counts) or 'no'} acquisitions from {len(self.fates)} items "
            f"({merged} merged into another of their pass, {dropped} dropped)"
        )

    def to_parquet(self, path: str | Path) -> None:
        """Write the items and the search's own facts as stac-geoparquet, replacing ``path`` whole.

        Raises:
            InputError: If the file cannot be written.
        """
        path = Path(path)
        writable = [item for item in self.items if _fits_parquet(item)]
        ids = {str(item.get("id")) for item in writable}
        facts = {
            "source": self.source,
            "signing": self.signing,
            "period": [day.isoformat() for day in self.period],
            "sensors": list(self.asked),
            "mask": self.mask,
            # Items without a time or a place fit no row.
            "unfit": [
                [fate.item_id, fate.sensor, str(fate.time), fate.reason]
                for fate in self.fates
                if fate.item_id not in ids
            ],
        }
        table, metadata = _as_table(writable)
        metadata[_KEY] = json.dumps(facts).encode()
        partial = path.with_name(f".{path.name}.{os.getpid()}.parquet")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table.replace_schema_metadata(metadata), partial, compression="zstd")
            os.replace(partial, path)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise InputError(f"The scenes cannot be written to {path}: {reason}.") from error
        finally:
            with suppress(OSError):
                partial.unlink()

    def require(self, outline: BaseGeometry) -> None:
        """Check that there is anything to build for a region.

        Args:
            outline: The region in EPSG:4326.

        Raises:
            InputError: If there is no acquisition, or none that touches the region.
        """
        if not self.sensors:
            known = ", ".join(sorted({str(item.get("collection")) for item in self.items}))
            raise InputError(
                f"None of the {len(self.items)} items of {self.source} is of "
                f"{', '.join(self.asked)}; they are of the collections {known}."
            )
        kept = [a for acquisitions in self.by_sensor.values() for a in acquisitions]
        shapes = [shape for a in kept for item in a.items if (shape := footprint(item)) is not None]
        if not any(shape.intersects(outline) for shape in shapes):
            bounds = union_all([box(*shape.bounds) for shape in shapes]).bounds
            region = ",".join(f"{edge:.4g}" for edge in outline.bounds)
            raise InputError(
                f"No scene touches the region {region}; the scenes of {self.source} lie "
                f"{reach_of(bounds, outline)}. Give their region, or search for scenes of this one."
            )

    @classmethod
    def from_parquet(cls, path: str | Path) -> Scenes:
        """Read what :meth:`to_parquet` wrote, or any other stac-geoparquet file of scenes.

        Raises:
            InputError: If the file does not exist, is no stac-geoparquet, or holds no item.
        """
        where = str(Path(path).resolve())
        if not Path(path).is_file():
            raise InputError(f"There is no file of scenes {str(path)!r}; make one by a search.")
        items = list(read_parquet(where))
        facts = _facts(where)
        if not items:
            raise InputError(f"The file of scenes {str(path)!r} holds no item.")
        period = facts.get("period")
        scenes = cls.gather(
            items,
            pick_sensors(facts.get("sensors")),
            source=facts.get("source", str(path)),
            period=_span(items)
            if period is None
            else (date.fromisoformat(period[0]), date.fromisoformat(period[1])),
            signing=facts.get("signing"),
            mask=facts.get("mask"),
        )
        unfit = tuple(
            Fate(item_id, sensor, np.datetime64(time, "us"), "dropped", reason)
            for item_id, sensor, time, reason in facts.get("unfit", ())
        )
        return cls(**{**vars(scenes), "fates": in_order(scenes.fates + unfit)})


def _as_table(items: list[dict[str, Any]]) -> tuple[pa.Table, dict[bytes, bytes]]:
    """Items as stac-geoparquet, by way of a file of rustac's own.

    That lies in a temporary folder: where rustac cannot write it makes folders and, on some file
    systems, tries for ever.
    """
    with tempfile.TemporaryDirectory(prefix="terralatent-search-") as aside:
        file = str(Path(aside, "items.parquet"))
        try:
            rustac.write_sync(file, items, format="parquet")
        except rustac.RustacError as error:
            raise InputError(
                f"The scenes cannot be written as stac-geoparquet: {error}."
            ) from error
        metadata = dict(pq.read_metadata(file).metadata or {})
        metadata.pop(b"ARROW:schema", None)
        return pq.read_table(file), metadata


def _facts(where: str) -> dict[str, Any]:
    """What :meth:`Scenes.to_parquet` wrote beside the items; empty for a file of others."""
    text = (pq.read_metadata(where).metadata or {}).get(_KEY, b"{}")
    try:
        facts = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"The file of scenes {where} is damaged: what its search asked for cannot be read "
            f"({error}). Search again."
        ) from error
    return dict(facts)


def _fits_parquet(item: dict[str, Any]) -> bool:
    return sensed_at(item) is not None and footprint(item) is not None


def _span(items: Sequence[dict[str, Any]]) -> Period:
    times = [time for item in items if (time := sensed_at(item)) is not None]
    first, last = (time.astype("datetime64[D]").astype(date) for time in (min(times), max(times)))
    return first, last
