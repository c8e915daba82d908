"""Labelled pixels of cubes and tables: their observations and classes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.families import DEFAULT, UNLEARNED
from terralatent.models.observations import Observations
from terralatent.pipeline.labels import class_names, read_shapes
from terralatent.pipeline.region import grid_of
from terralatent.pipeline.tables.places import find_places
from terralatent.pipeline.training.cubes import TrainingCube
from terralatent.pipeline.training.labelled.request import Supervision
from terralatent.pipeline.training.sources import PixelSource
from terralatent.pipeline.training.tables.calendars import TableCalendar

__all__ = ["LabelledPixels", "Pixels", "read_labelled"]

log = logging.getLogger(__name__)

MOST_PIXELS = 64
"""Of a label on a cube; its pixels are much alike."""

ALL_PIXELS = 8192
"""Of all labels, as many of each class as that allows."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """Labelled pixels of one source, on its calendar."""

    observations: Mapping[str, Observations]
    """By sensor, N pixels, on the CPU."""

    classes: NDArray[np.intp]
    """Place of each pixel's class, (N,)."""


@dataclass(frozen=True, eq=False)
class LabelledPixels:
    """All pixels with labels."""

    classes: tuple[str, ...]
    """Names, sorted."""

    parts: tuple[Pixels, ...]
    """Of the sources that have any."""

    digest: str
    """SHA-256 of which pixel has which class, in hexadecimal."""

    counts: tuple[int, ...]
    """Pixels of each class."""

    def record(self, request: Supervision) -> dict[str, Any]:
        """What a training notes of its labels, JSON values."""
        return {
            "column": request.column,
            "pixels": sum(self.counts),
            "classes": dict(zip(self.classes, self.counts, strict=True)),
            "weight": request.weight,
            "steps": request.steps,
            "labels": self.digest,
        }


def read_labelled(
    sources: Sequence[PixelSource],
    request: Supervision,
    seed: int,
    *,
    family: str = DEFAULT,
    fixed: bool = False,
) -> LabelledPixels:
    """Find the labelled pixels of all sources and read their series. Computes.

    Pixels whose column is null, and those without a clear observation, are no labelled pixels.

    Args:
        sources: Cubes and calendars of tables.
        request: Which labels.
        seed: Of which pixels are taken where there are many.
        family: Of the model.
        fixed: Whether what the model has is to stay as it is.

    Raises:
        InputError: If labels cannot teach such a model, there is no such file or column, labels are
            missing for cubes or given for tables alone, no pixel has one, or all are of one class.
    """
    if fixed:
        raise InputError(
            "labels would move the latents of a model that is extended, which stay as they are; "
            "begin from it instead (pretrained=)."
        )
    if family in UNLEARNED:
        raise InputError(f"a {family} model takes no steps, so labels teach it nothing.")
    cubes = [source for source in sources if isinstance(source, TrainingCube)]
    tables = [source for source in sources if isinstance(source, TableCalendar)]
    if cubes and not tables and request.labels is None:
        raise InputError(
            f"{cubes[0].name} is a cube, which has no column {request.column!r} of its own; give "
            "its labels as polygons or points (labels=)."
        )
    if request.labels is not None and not cubes:
        raise InputError(
            f"{tables[0].name} is a table, whose column {request.column!r} has its labels; leave "
            "those for cubes (labels=) out."
        )
    found: list[tuple[PixelSource, list[NDArray[np.intp]], NDArray[Any]]] = []
    amiss: list[InputError] = []
    for source in sources:
        if isinstance(source, TableCalendar):
            found.append((source, *_of_table(source, request.column)))
        elif isinstance(source, TrainingCube) and request.labels is not None:
            try:
                found.append((source, *_of_cube(source, request)))
            except InputError as error:  # the labels may lie on another of the cubes
                amiss.append(error)
    if amiss and not found:
        raise amiss[0]
    names = np.concatenate([own for _, _, own in found])
    classes, place = np.unique(names.astype(str), return_inverse=True)
    if len(classes) < 2:
        what = (
            f"all {len(names)} pixels are {str(classes[0])!r}"
            if len(classes)
            else "no pixel has one"
        )
        raise InputError(
            f"Labels in the column {request.column!r}: {what}; a training with labels needs two "
            "classes or more."
        )
    kept = _balanced(place, seed)
    digest, parts, start = hashlib.sha256(), [], 0
    for source, own, texts in found:
        rows = np.arange(start, start + len(texts))
        start += len(texts)
        part = _read(source, own, place[rows], kept[rows], digest)
        parts += [part] if part else []
    counts = np.bincount(
        np.concatenate([part.classes for part in parts] or [np.empty(0, np.intp)]),
        minlength=len(classes),
    )
    if (counts > 0).sum() < 2:
        raise InputError(
            f"Labels in the column {request.column!r}: only pixels of "
            f"{', '.join(classes[counts > 0]) or 'no class'} were ever clear; label others too."
        )
    return LabelledPixels(
        tuple(map(str, classes)), tuple(parts), digest.hexdigest(), tuple(map(int, counts))
    )


def _of_table(source: TableCalendar, column: str) -> tuple[list[NDArray[np.intp]], NDArray[Any]]:
    """Labelled pixels of each part, by their places in it, and their labels one after the other."""
    table = source.table
    name = table.columns.attributes.get(column, column)
    if name not in table.schema.names:
        there = ", ".join(table.columns.attributes) or ", ".join(table.schema.names)
        raise InputError(f"{table.name} has no column {column!r}; it has {there}.")
    places, labels = [], []
    for part in source.parts:
        rows = table.read(part.groups, [name]).take(pa.array(part.starts - part.first))
        own = class_names(rows[name].to_pandas())
        there = own != ""
        places.append(np.flatnonzero(there))
        labels.append(own[there])
    return places, np.concatenate(labels)


def _of_cube(source: TrainingCube, request: Supervision) -> tuple[list[NDArray[np.intp]], Any]:
    """The same of a cube, whose parts are patches."""
    assert request.labels is not None
    given = request.labels
    frame = read_shapes(given, "labels") if isinstance(given, str | Path) else given
    if request.column not in frame.columns:
        known = [str(name) for name in frame.columns if name != frame.geometry.name]
        raise InputError(
            f"The labels have no column {request.column!r}; they have {', '.join(known) or 'none'}."
        )
    frame = frame[class_names(frame[request.column]) != ""]
    if not len(frame):
        raise InputError(f"No label has a value in the column {request.column!r}; fill it.")
    grid = grid_of(source.group[next(iter(source.sensors))])
    polygons = not set(frame.geom_type.dropna()) <= {"Point"}
    where = find_places(frame, grid, polygons=polygons)
    texts = class_names(frame[request.column])[where.features]
    thinned = _thinned(where.features)
    rows, columns, texts = where.rows[thinned], where.columns[thinned], texts[thinned]
    places, labels = [], []
    for patch in source.patches:
        inside = (rows >= patch.y.start) & (rows < patch.y.stop)
        inside &= (columns >= patch.x.start) & (columns < patch.x.stop)
        width = patch.x.stop - patch.x.start
        places.append((rows[inside] - patch.y.start) * width + columns[inside] - patch.x.start)
        labels.append(texts[inside])
    return places, np.concatenate(labels)


def _thinned(features: NDArray[np.intp]) -> NDArray[np.intp]:
    """Up to so many pixels of each label, evenly spread; features are ascending."""
    parts = np.split(np.arange(len(features)), np.flatnonzero(np.diff(features)) + 1)
    return np.concatenate(
        [part[np.linspace(0, len(part) - 1, min(len(part), MOST_PIXELS)).astype(int)]
         for part in parts]
    )  # fmt: skip


def _balanced(place: NDArray[np.intp], seed: int) -> NDArray[np.bool_]:
    """Choose pixels where there are many: of each class as many, the rare ones whole."""
    kept = np.zeros(len(place), dtype=bool)
    generator = np.random.default_rng(seed)
    counts = np.bincount(place)
    left, classes = ALL_PIXELS, len(counts)
    for number in np.argsort(counts, kind="stable"):
        taken = min(int(counts[number]), left // classes)
        rows = np.flatnonzero(place == number)
        kept[generator.permutation(rows)[:taken]] = True
        left, classes = left - taken, classes - 1
    return kept


def _read(
    source: PixelSource,
    places: Sequence[NDArray[np.intp]],
    classes: NDArray[np.intp],
    kept: NDArray[np.bool_],
    digest: Any,
) -> Pixels | None:
    """Read the pixels that are kept of one source; None if it has none."""
    series: list[dict[str, Observations]] = []
    numbers: list[NDArray[np.intp]] = []
    start = 0
    for part, rows in enumerate(places):
        own = slice(start, start + len(rows))
        start = own.stop
        some, of = rows[kept[own]], classes[own][kept[own]]
        if not len(some):
            continue
        block = source.read(part)
        seen = np.asarray(block.observations.any(axis=0))[some]
        some, of = some[seen], of[seen]
        if not len(some):
            continue
        digest.update(source.version.encode())
        for numbers_of in (np.array([part]), some, of):
            digest.update(np.ascontiguousarray(numbers_of, "<i8").tobytes())
        series.append(block.series(some))
        numbers.append(of)
    if not series:
        return None
    joined = {name: Observations.concatenate([own[name] for own in series]) for name in series[0]}
    return Pixels(joined, np.concatenate(numbers))
