"""A cube and places -> a table of pixel series, which says all of them that a model reads."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.observations import DISTANCE_CAP
from terralatent.pipeline.cube.losses import DONE
from terralatent.pipeline.cube.masking import MaskingRequest, Masks
from terralatent.pipeline.cube.reading import Reading
from terralatent.pipeline.cube.series import US_PER_DAY, SeriesBlock, read_series
from terralatent.pipeline.progress import Progress, ProgressChoice, choose_progress
from terralatent.pipeline.region import blocks, grid_of
from terralatent.pipeline.sentence import Sentence
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.tables.atomic import is_made, writing_parquet
from terralatent.pipeline.tables.places import Places, VectorSource, find_places
from terralatent.pipeline.tables.rows import SensorRows
from terralatent.pipeline.tables.series import Series

__all__ = ["ExtractReport", "extract"]

log = logging.getLogger(__name__)

WINDOW = 64
"""Side of what is read at once, in pixels: one inner chunk."""

GROUP_ROWS = 65_536
"""Rows of a row group, at least."""


@dataclass(frozen=True, repr=False)
class ExtractReport(Sentence):
    """What a table holds that was made from a cube."""

    pixels: int
    """Pixels."""

    rows: int
    """Pixels times their dates."""

    outside: int
    """Pixels outside every scene, which are left out."""

    repeated: bool
    """Whether the table was there before and nothing was done."""

    def __str__(self) -> str:
        if self.repeated:
            return f"already extracted, nothing done: {self.pixels:,} pixels"
        lost = f", {self.outside:,} pixels outside every scene left out" if self.outside else ""
        return f"{self.pixels:,} pixels in {self.rows:,} rows{lost}"


def extract(
    cube: str | Path,
    out: str | Path,
    *,
    points: VectorSource | None = None,
    polygons: VectorSource | None = None,
    label: str | None = None,
    sensors: Sequence[str] | None = None,
    masking: MaskingRequest = None,
    at: str | None = None,
    progress: ProgressChoice = None,
) -> ExtractReport:
    """Write the series of a cube's pixels at points or in polygons as a table; computes.

    In this process, window by window of 64 x 64 pixels, of those that hold any. Of the file nothing
    is there before it is whole; the same call again does nothing.

    A row is a pixel at a time at which a sensor saw it clear, with ``pixel``, ``time`` (UTC),
    ``lon`` and ``lat`` (degrees, of the pixel's centre), ``group`` (the feature, unless the file
    says other), what the file says of its feature, and for each sensor ``SENSOR:BAND`` (float32,
    its units, NaN where masked), ``SENSOR:incidence`` (degrees) and ``SENSOR:distance`` (pixels to
    the nearest masked one). A pixel that was never clear has one row without values. So the table
    embedded is the cube embedded at these pixels.

    Args:
        cube: Path or URL of a cube.
        out: Where the table goes, a ``.parquet`` file.
        points: A file of points, or a frame: each is the pixel that holds it.
        polygons: Or one of polygons: each is the pixels whose centres it holds.
        label: Its column that becomes ``label``.
        sensors: Those of the cube that are wanted; by default all.
        masking: How the sensors are masked; as the cube says, where it leaves that open.
        at: An earlier snapshot of the cube.
        progress: Advanced by every window; True: a bar, as by default in a notebook.

    Raises:
        InputError: If the cube, the places or ``out`` cannot be used, not one of points and
            polygons is given, none lies on the cube, or the cube has no such sensor.

    Examples:
        >>> import terralatent as tl
        >>> tl.extract("cube", "crops.parquet", polygons="labels.geojson", label="crop")
        ExtractReport: 144 pixels in 6,062 rows
    """
    progress = choose_progress(progress)
    given = [source for source in (points, polygons) if source is not None]
    if len(given) != 1:
        raise InputError("extract takes points or polygons, one of them; see points=, polygons=.")
    out, store, reading = Path(out), Store.of(cube), Reading(masking, at)
    with translated_errors(store):
        root, snapshot = reading.open(store)
        names = _sensors(root, sensors, str(store))
        masks = reading.masks(root, names)
        places = find_places(
            given[0], grid_of(root[names[0]]), polygons=polygons is not None, label=label
        )
        identity = {
            "kind": "table",
            "cube": snapshot or str(store),
            "sensors": names,
            "masking": masks.to_json(),
            "places": places.identity,
        }
        if is_made(out, identity):
            return ExtractReport(len(places), 0, 0, repeated=True)
        pixels = rows = 0
        with writing_parquet(out, identity) as write:
            for table, count in _gathered(_windows(root, names, places, masks, progress)):
                write(table)
                pixels, rows = pixels + count, rows + len(table)
            if not pixels:
                raise InputError(f"All {len(places)} pixels lie outside every scene of {store}.")
    return ExtractReport(pixels, rows, len(places) - pixels, repeated=False)


def _sensors(root: zarr.Group, wanted: Sequence[str] | None, cube: str) -> list[str]:
    """The sensors that are read, sorted; of those that are not whole it is said."""
    there = sorted(
        name for name, group in root.groups() if "data" in group and group["data"].shape[0]
    )
    if unknown := sorted(set(wanted or ()) - set(there)):
        raise InputError(
            f"{cube} has no acquisitions of {', '.join(unknown)}; it has {', '.join(there)}."
        )
    names = [name for name in there if wanted is None or name in wanted]
    if not names:
        raise InputError(f"{cube} has no acquisitions of any sensor.")
    for name in names:
        if f"{name}/state" in root and (np.asarray(root[f"{name}/state"]) != DONE).any():
            log.warning("%s: %s is not whole; what is there is extracted", cube, name)
    return names


def _windows(
    root: zarr.Group,
    sensors: Sequence[str],
    places: Places,
    masks: Masks,
    progress: Progress,
) -> Iterator[Series]:
    """Read the pixels of each window that holds some; those outside every scene are left out."""
    width = -(-places.grid.shape[1] // WINDOW)
    window = (places.rows // WINDOW) * width + places.columns // WINDOW
    numbers = np.unique(window)
    whole = blocks((places.grid.shape[0], places.grid.shape[1]), WINDOW)
    progress.start(len(numbers), "extract")
    try:
        for number in numbers:
            here, block = np.flatnonzero(window == number), whole[number]
            rows, columns = places.rows[here], places.columns[here]
            y = slice(int(rows.min()), int(rows.max()) + 1)
            x = slice(int(columns.min()), int(columns.max()) + 1)
            assert block.y.start <= y.start < block.y.stop
            read = read_series(root, sensors, y, x, masks)
            pixel = (rows - y.start) * (x.stop - x.start) + columns - x.start
            seen = read.seen[pixel]
            if seen.any():
                yield _series(read, pixel[seen], places.pixels(here[seen]))
            progress.advance()
    finally:
        progress.close()


def _series(read: SeriesBlock, pixels: NDArray[np.intp], about: pa.Table) -> Series:
    """The rows of some pixels of a window: the times at which any sensor saw one clear."""
    seen = read.series(pixels)
    times = {
        name: np.rint(own.days.numpy() * US_PER_DAY).astype(np.int64) for name, own in seen.items()
    }
    every = np.unique(np.concatenate(list(times.values())))
    observed = np.zeros((len(pixels), len(every)), dtype=bool)
    for name, own in seen.items():
        observed[:, np.searchsorted(every, times[name])] |= own.observed.numpy()
    row = np.cumsum(observed).reshape(observed.shape) - 1
    sensors = {}
    for name, own in seen.items():
        pixel, date = np.nonzero(own.observed.numpy())
        place = row[pixel, np.searchsorted(every, times[name])[date]]
        bands = read.by_sensor[name].bands
        values = np.full((int(observed.sum()), len(bands)), np.nan, np.float32)
        valid = own.valid[pixel, date].numpy()
        values[place] = np.where(valid, own.values[pixel, date].numpy(), np.nan)
        incidence = np.full(len(values), np.nan, np.float32)
        incidence[place] = own.incidence[date].numpy()
        distance = np.full(len(values), DISTANCE_CAP, np.float32)
        distance[place] = own.distance[pixel, date].numpy()
        units = read.by_sensor[name].units
        sensors[name] = SensorRows(bands, units, values, incidence, distance)
    offsets = np.append(0, np.cumsum(observed.sum(axis=1)))
    return Series(about, offsets, every[np.nonzero(observed)[1]], sensors)


def _gathered(parts: Iterator[Series]) -> Iterator[tuple[pa.Table, int]]:
    """Rows of several windows together, and how many pixels they are of."""
    waiting: list[pa.Table] = []
    pixels = 0
    for part in parts:
        waiting.append(part.to_arrow())
        pixels += len(part)
        if sum(map(len, waiting)) >= GROUP_ROWS:
            yield pa.concat_tables(waiting).combine_chunks(), pixels
            waiting, pixels = [], 0
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks(), pixels
