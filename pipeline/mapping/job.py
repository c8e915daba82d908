"""A stored cube, a model that fits it and dates: checked here, then used on workers by block."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terralatent.models.checkpoint import read_manifest
from terralatent.models.shipped import model_folder
from terralatent.pipeline.cube.items import items_hash
from terralatent.pipeline.cube.losses import PENDING
from terralatent.pipeline.cube.masking import Masks
from terralatent.pipeline.cube.reading import NEWEST, Known, Places, Reading, known_by
from terralatent.pipeline.cube.series import US_PER_DAY, SeriesBlock, read_series
from terralatent.pipeline.dates import Times, When, parse_when
from terralatent.pipeline.mapping.bands import stored_bands
from terralatent.pipeline.mapping.growth.changed import (
    ChangedDates,
    changed_dates,
    has_data,
)
from terralatent.pipeline.mapping.inference import InferenceJob, fit_model
from terralatent.pipeline.mapping.scene_errors import SceneErrors, estimate_scene_errors
from terralatent.pipeline.pixels.model import ModelSource
from terralatent.pipeline.region import Block, grid_of
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["MappingJob", "plan_job"]

Window = tuple[slice, slice]
"""Rows and columns of a grid."""


@dataclass(frozen=True, kw_only=True)
class MappingJob(InferenceJob):
    """A stored cube at one snapshot, a model that fits it, and the requested dates.

    Small and picklable: tasks carry this and never pixels or weights.
    """

    cube: Store
    """Where it lies."""

    window: Window | None = None
    """The part of the cube's grid that results are of; all of it if None. What lies around it is
    read as far as masks reach into it, so that a pixel has one result, whatever the window."""

    known: Known | None = None
    """What of the cube was there by a moment; None: all of it is used."""

    def open_cube(self) -> zarr.Group:
        """The cube's root at the snapshot; opened once a process. Reads no pixels."""
        return _open(self.cube, self.snapshot)

    @property
    def block(self) -> int:
        """Pixels along y and x of the cube's blocks. Reads no table: every block needs it."""
        return int(_about(self.open_cube())["identity"]["block"])

    @property
    def grid(self) -> GeoBox:
        """The grid that all sensors of the cube share, or the window of it."""
        whole = grid_of(self.open_cube()[self.sensors[0]])
        return whole if self.window is None else whole[self.window]

    @property
    def series_bytes(self) -> tuple[int, int]:
        """What the series of a pixel take while they are read, and how many dates they have."""
        cube = self.open_cube()
        kept, reading, count = 0, 0, 0
        for own in self.bands:
            data: Any = cube[f"{own.sensor}/data"]
            dates, packed = self._count(own.sensor), len(own.shared) * data.dtype.itemsize
            mask_and_distance = np.dtype(bool).itemsize + np.dtype(np.float32).itemsize
            kept += dates * (packed + mask_and_distance)
            reading = max(reading, dates * (packed + 2 * mask_and_distance))
            count += dates
        return kept + reading, count

    @property
    def period(self) -> tuple[np.datetime64, np.datetime64]:
        """First and last day of the cube."""
        return _period(self.open_cube())

    @property
    def acquisitions(self) -> Times:
        """Times of all acquisitions of :attr:`sensors` that are used, datetime64[us]."""
        return _times(self.open_cube(), self.sensors, self.known)

    @property
    def places(self) -> Mapping[str, Places]:
        """Which dates of each sensor are used; worked out once a process."""
        return _places(self.cube, self.snapshot, self.sensors, self.known)

    def in_cube(self, block: Block) -> tuple[slice, slice]:
        """The rows and columns of the cube's grid that a block of :attr:`grid` covers."""
        if self.window is None:
            return block.y, block.x
        top, left = self.window[0].start, self.window[1].start
        return (
            slice(block.y.start + top, block.y.stop + top),
            slice(block.x.start + left, block.x.stop + left),
        )

    def read(
        self,
        block: Block,
        errors: SceneErrors | None = None,
        *,
        dates: Mapping[str, NDArray[np.intp]] | None = None,
    ) -> SeriesBlock:
        """Read the series of a block from the store, see :meth:`InferenceJob.read`.

        Args:
            block: Which pixels.
            errors: As there.
            dates: By sensor, the acquisitions that are read; all by default.
        """
        y, x = self.in_cube(block)
        with translated_errors(self.cube, OSError):
            series = read_series(
                self.open_cube(),
                self.sensors,
                y,
                x,
                self.masks,
                self.model_bands,
                self.places if dates is None else dates,
            )
            if not self.corrects:
                return series
            return (errors or self.scene_errors()).corrected(series, y, x)

    def open_cube_at(self, before: str) -> zarr.Group:
        """The cube's root at an earlier snapshot; opened once a process. Reads no pixels."""
        return _open(self.cube, before)

    def changed_dates(self, before: str, sensor: str) -> ChangedDates:
        """Which dates of a sensor are others than at an earlier snapshot; found once a process."""
        return _changed(self.cube, before, self.snapshot, self.sensors)[sensor]

    def days_of(self, sensor: str, at: str | None = None) -> NDArray[np.float64]:
        """Days since 1970-01-01 of a sensor's dates, (T,), at an earlier snapshot if wanted; read
        once a process."""
        return _sensor_facts(self.cube, self.snapshot if at is None else at, sensor)[0]

    def was_pending(self, before: str, sensor: str, block: Block) -> bool:
        """Whether an earlier snapshot lacked a sensor, or had not read all of it below a block."""
        states, size = _sensor_facts(self.cube, before, sensor)[1], self.block
        rows, columns = (
            slice(part.start // size, (part.stop - 1) // size + 1) for part in self.in_cube(block)
        )
        return states is None or bool((states[:, rows, columns] == PENDING).any())

    def is_same_since(self, before: str, block: Block) -> bool:
        """Whether all that is read of a block is what an earlier snapshot of the cube has of it.

        Reads those dates that are others alone.

        Raises:
            OSError: If the cube is damaged there.
        """
        y, x = self.in_cube(block)
        with translated_errors(self.cube, OSError):
            then, now = _open(self.cube, before), self.open_cube()
            for name in self.sensors:
                dates = self.changed_dates(before, name)
                for root, places in ((now, dates.came), (then, dates.went)):
                    if len(places) and has_data(root[name], places, y, x):
                        return False
                if self.was_pending(before, name, block):
                    return False
        return True

    def scene_errors(self) -> SceneErrors:
        """Errors over scenes, by this cube and model alone; estimated once a process. Computes.

        Raises:
            InputError: If the model is of a family that cannot estimate them.
        """
        return _scene_errors(replace(self, times=(), window=None))

    def identity(self) -> dict[str, Any]:
        """What must be equal for a store of results to be gone on with; JSON values.

        The model is added by who knows which part of it the results depend on.
        """
        about = _about(self.open_cube())
        return {
            "cube": {
                "snapshot": self.snapshot,
                "items": items_hash(self.open_cube()),
                "grid": about["identity"]["grid"],
            },
            "sensors": list(self.sensors),
            "dates": [str(date) for date in self.dates],
            "block": about["identity"]["block"],
            **self._choices(),
            **({} if self.window is None else {"window": self._edges()}),
            **self._until(),
        }

    def _origin(self) -> dict[str, Any]:
        made_from = {
            "cube_snapshot": self.snapshot,
            "cube_items_hash": items_hash(self.open_cube()),
        }
        return {**made_from, **self._until()}

    def _until(self) -> dict[str, Any]:
        """What results of a part of the dates say of it; those of all have no such entries."""
        return {} if self.known is None else self.known.to_json()

    def _count(self, sensor: str) -> int:
        """Dates of a sensor that are used."""
        places = self.places.get(sensor, slice(None))
        if not isinstance(places, slice):
            return len(places)
        data: Any = self.open_cube()[f"{sensor}/data"]
        return len(range(*places.indices(data.shape[0])))

    def _edges(self) -> list[int]:
        assert self.window is not None
        return [edge for part in self.window for edge in (part.start, part.stop)]


def plan_job(
    cube: str | Path | Store,
    model: ModelSource,
    dates: When,
    reading: Reading = NEWEST,
    *,
    acquisitions_of: str | None = None,
    device: str = "auto",
    encoder: str = "float32",
    sensors: Collection[str] | None = None,
    window: Window | None = None,
) -> MappingJob:
    """Check that ``model`` is whole and fits ``cube``, and settle the dates. Reads no pixels.

    Args:
        cube: Path or URL of a cube.
        model: Folder of a model, or the name of one that comes with the package, see
            :mod:`terralatent.models.shipped`; the default of those if None.
        dates: See :func:`terralatent.pipeline.dates.parse_when`.
        reading: How the cube is read; by default its newest snapshot, masked as the model was
            trained, with all that it holds. A sensor of which nothing was there is not read.
        acquisitions_of: The sensor that the dates ``acquisitions`` mean; all by default.
        device: Where the model runs.
        encoder: In what the encoders' networks compute.
        sensors: Those of the cube that are read; all that the model knows by default.
        window: The part of the cube's grid that results are of.

    Raises:
        InputError: If there is no cube or it is damaged, nothing of it was there, the dates mean
            nothing, it cannot be masked so, or there is no such kind of device or of encoder, or
            the model no encoder of that kind.
        CheckpointError: If there is no model, or it does not fit the cube.
    """
    store = Store.of(cube)
    with translated_errors(store):
        root, snapshot = reading.open(store)
        there = [name for name in _sensors(root) if sensors is None or name in sensors]
        known = known_by(root, there, reading.until)
        if known is not None:
            there = [name for name in there if _times(root, [name], known).size]
        fitted = fit_model(model, stored_bands(root, there), device=device, encoder=encoder)
        names = [own.sensor for own in fitted["bands"]]
        trained = Masks.of_model(read_manifest(model_folder(fitted["model"])))
        masks = reading.masks(root, names, trained)
        masks.to_json()  # a function without a name is refused before anything is laid out
        of = [acquisitions_of] if acquisitions_of in there else there
        times = parse_when(dates, _period(root), _times(root, of, known))
    return MappingJob(
        cube=store,
        snapshot=snapshot,
        window=window,
        times=tuple(int(time) for time in times.astype(np.int64)),
        masks=masks,
        known=None if known is None else known.of(names),
        **fitted,
    )


def _sensors(root: zarr.Group) -> list[str]:
    return sorted(name for name, group in root.groups() if "data" in group)


def _period(root: zarr.Group) -> tuple[np.datetime64, np.datetime64]:
    first, last = _about(root)["identity"]["period"]
    return np.datetime64(first, "D"), np.datetime64(last, "D")


def _times(root: zarr.Group, sensors: Sequence[str], known: Known | None = None) -> Times:
    places = _used(root, sensors, known)
    times = [np.asarray(root[f"{name}/time"])[places.get(name, slice(None))] for name in sensors]
    return np.concatenate(times).astype("datetime64[us]")


def _used(root: zarr.Group, sensors: Sequence[str], known: Known | None) -> Mapping[str, Places]:
    return {} if known is None else {name: known.places(root, name) for name in sensors}


def _about(root: zarr.Group) -> Mapping[str, Any]:
    return root.attrs[ABOUT]


@lru_cache(maxsize=4)
def _open(cube: Store, snapshot: str) -> zarr.Group:
    return cube.group(kind="cube", snapshot=snapshot or None)


@lru_cache(maxsize=64)
def _sensor_facts(
    cube: Store, snapshot: str, sensor: str
) -> tuple[NDArray[np.float64], NDArray[np.uint8] | None]:
    """Days of a sensor's dates, and the states of its read tasks; None where it has none."""
    root: Any = _open(cube, snapshot)
    if sensor not in root or "state" not in root[sensor]:
        return np.zeros(0), None
    days = np.asarray(np.asarray(root[sensor]["time"]) / US_PER_DAY)
    return days, np.asarray(root[sensor]["state"])


@lru_cache(maxsize=4)
def _changed(
    cube: Store, before: str, now: str, sensors: tuple[str, ...]
) -> Mapping[str, ChangedDates]:
    return changed_dates(_open(cube, before), _open(cube, now), sensors)


@lru_cache(maxsize=4)
def _places(
    cube: Store, snapshot: str, sensors: tuple[str, ...], known: Known | None
) -> Mapping[str, Places]:
    return _used(_open(cube, snapshot), sensors, known)


@lru_cache(maxsize=2)
def _scene_errors(job: MappingJob) -> SceneErrors:
    cube, model = job.open_cube(), job.load()
    return estimate_scene_errors(cube, job.sensors, model, masks=job.masks, dates=job.places)
