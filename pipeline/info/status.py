"""How a store or a model stands: what it holds, what is missing, what runs on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zarr

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.listing import html_of, text_of
from terralatent.pipeline.info.behind import Behind, find_behind
from terralatent.pipeline.info.models import ModelStatus, holds_model, model_status
from terralatent.pipeline.info.stores import (
    CubeStatus,
    Dates,
    ResultStatus,
    States,
    cube_status,
    result_status,
)
from terralatent.pipeline.json_value import json_value
from terralatent.pipeline.store.chunks import chunks_without_checksum
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.history import find_snapshot
from terralatent.pipeline.store.lock.run_note import Run, iso
from terralatent.pipeline.store.lock.writer import read_run
from terralatent.pipeline.store.repository import ABOUT, Store
from terralatent.pipeline.training.files import FOLDER as TRAINING

__all__ = ["Grid", "Status", "status"]

CATALOGUE = ("catalog.json", "collection.json")
"""Files that a folder of scenes begins with."""


@dataclass(frozen=True)
class Grid:
    """The pixels of a store."""

    crs: str
    """``EPSG:N``, or WKT where it has no code."""

    shape: tuple[int, int]
    """Rows and columns."""

    resolution: float
    """Side of a pixel in units of the CRS."""

    bounds: tuple[float, float, float, float]
    """Left, bottom, right and top, in units of the CRS."""


@dataclass(frozen=True, repr=False)
class Status:
    """How a store or a model stands. All times are ISO 8601 in UTC. Shown as the main of it."""

    store: str
    """Its absolute path, or its URL."""

    kind: str | None
    """``cube``, ``latents``, ``bands``, ``landcover`` or ``model``; None where a run has not laid
    it out yet."""

    format: str | None
    """``icechunk``, ``zarr`` (plain Zarr v3) or, of a model, ``folder``."""

    code_version: str | None
    """Version of the code that made it."""

    bytes: int | None
    """Size on disk; None for a URL."""

    snapshot: str | None
    """Of an Icechunk store: the newest, or an earlier one that was named."""

    commits: int | None
    """Commits of an Icechunk store; None for a URL, where counting fetches each of them."""

    committed: str | None
    """Time of the last commit."""

    grid: Grid | None
    """Of a cube, latents, bands and a map."""

    block: int | None
    """Pixels along a side of a block."""

    chunks_without_checksum: int | None
    """Chunks that a version of before wrote without one, at most: what changes there may be read
    as data. None for a model."""

    cube: CubeStatus | None
    """What a cube holds; None for anything else."""

    result: ResultStatus | None
    """What latents, bands or a map hold; None for anything else."""

    model: ModelStatus | None
    """What a model holds; None for anything else."""

    behind: Behind | None
    """What a result does not know yet of what it is made from; None where that is nothing."""

    growing: bool
    """Whether a cube has begun to grow, which readers do not see before it is whole."""

    run: Run | None
    """The run that writes it now, or that was cut short; None if there is none, and for a URL."""

    def __repr__(self) -> str:
        return text_of(f"{self.kind or 'not laid out yet'} {self.store}", list(main_facts(self)))

    def _repr_html_(self) -> str:
        return html_of(f"{self.kind or 'not laid out yet'} {self.store}", list(main_facts(self)))

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values, under their names; ``run`` with ``left_s`` and ``go_on``."""
        values = asdict(self)
        if self.run is not None:
            values["run"] |= {"left_s": self.run.left_s, "go_on": self.run.go_on}
        return dict(json_value(values))


def main_facts(status: Status) -> Iterator[tuple[str, str]]:
    """The main of what a status says, under its names; ``to_json`` says all of it."""
    if status.code_version:
        yield "made", f"by terralatent {status.code_version}, {status.format}"
    if status.committed:
        yield "stored", f"{status.committed}, snapshot {status.snapshot}"
    if status.grid is not None:
        rows, columns = status.grid.shape
        yield (
            "grid",
            f"{rows} x {columns} pixels of {status.grid.resolution:g}, {status.grid.crs[:40]}",
        )
    if status.cube is not None:
        for name, sensor in status.cube.sensors.items():
            yield name, f"{_dates(sensor.dates)}; read tasks: {_states(sensor.units)}"
    if status.result is not None:
        yield "dates", _dates(status.result.dates)
        yield "blocks", _states(status.result.blocks)
    if status.behind is not None:
        yield "behind", str(status.behind)
        if status.behind.command:
            yield "bring up to date", status.behind.command
    if status.model is not None:
        yield "model", f"{status.model.model}, {status.model.latents} latents"
        yield "sensors", ", ".join(status.model.sensors or ())
        yield "training", "finished" if status.model.finished else "not finished"
    if status.run is not None:
        run = status.run
        yield (
            "run",
            f"{'going on' if run.going else 'cut short'}: {run.stage} {run.done} of {run.total}",
        )


def _dates(dates: Dates) -> str:
    span = f", {dates.first[:10]} to {dates.last[:10]}" if dates.first and dates.last else ""
    return f"{dates.count} dates{span}"


def _states(states: States | None) -> str:
    if states is None:
        return "of one date"
    counts = {"done": states.done, "partial": states.partial, "pending": states.pending}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none"


def status(store: str | Path | Store, *, at: str | None = None) -> Status:
    """Say how a cube, latents, bands, a map or a model stands, finished or in the making.

    Reads states, coordinates and attributes, no pixels and no tensors, and changes nothing. A run
    that writes the store meanwhile does not notice.

    Args:
        store: Path or URL, an Icechunk store or plain Zarr v3; or the local folder of a model.
        at: An earlier snapshot, see :func:`terralatent.pipeline.store.history.find_snapshot`.

    Raises:
        InputError: If there is nothing at ``store``, or something else.
        CheckpointError: If it is the folder of a model and ``model.json`` is broken.

    Examples:
        >>> import terralatent as tl
        >>> tl.status("cube")
        cube ...
          made            by terralatent ...
          stored          ..., snapshot ...
          sentinel-1-asc  30 dates, 2017-08-01 to 2018-05-03; read tasks: 8 done
          sentinel-2-l2a  24 dates, 2017-08-01 to 2018-05-04; read tasks: 8 done
    """
    store = Store.of(store)
    path = store.path
    run = read_run(store.location)
    if path is not None and (holds_model(path) or (run and (path / TRAINING).is_dir())):
        model, version = model_status(path)
        return _status(store, "model", "folder", version, run=run, model=model)
    if path is None or path.is_dir():
        if store.exists():
            with translated_errors(store):
                return _store(store, run, at)
        if path is not None and any(path.iterdir()):
            raise _not_ours(store)
    if run is not None and (run.going or (path is not None and path.is_dir())):
        return _status(store, None, None, None, run=run)
    raise _not_ours(store)


def _store(store: Store, run: Run | None, at: str | None) -> Status:
    """How a cube, latents or bands stand, all at one snapshot."""
    try:
        snapshot = find_snapshot(store, at) or store.snapshot()
        root = store.group(snapshot=snapshot or None)
    except FileNotFoundError:  # nothing plain at a URL, or a repository that is not laid out yet
        if run is None:
            raise _not_ours(store) from None
        return _status(store, None, "icechunk", None, run=run)
    about: Any = root.attrs[ABOUT]
    kind, identity = about.get("kind"), about.get("identity", {})
    commits, committed = _commits(store, snapshot) if snapshot else (None, None)
    return _status(
        store,
        kind,
        "icechunk" if snapshot else "zarr",
        about.get("code_version"),
        run=run,
        snapshot=snapshot or None,
        commits=commits,
        committed=committed,
        grid=_grid(root),
        block=identity.get("block"),
        chunks_without_checksum=chunks_without_checksum(root),
        cube=cube_status(root, identity) if kind == "cube" else None,
        result=None if kind == "cube" else result_status(root),
        behind=None if kind == "cube" else find_behind(store, root),
        growing=bool(snapshot) and kind == "cube" and store.is_growing(),
    )


def _status(
    store: Store,
    kind: str | None,
    form: str | None,
    version: str | None,
    *,
    run: Run | None,
    snapshot: str | None = None,
    commits: int | None = None,
    committed: str | None = None,
    grid: Grid | None = None,
    block: int | None = None,
    chunks_without_checksum: int | None = None,
    cube: CubeStatus | None = None,
    result: ResultStatus | None = None,
    model: ModelStatus | None = None,
    behind: Behind | None = None,
    growing: bool = False,
) -> Status:
    return Status(
        store=store.address,
        kind=kind,
        format=form,
        code_version=version,
        bytes=None if store.path is None else sum(_sizes(store.path)),
        snapshot=snapshot,
        commits=commits,
        committed=committed,
        grid=grid,
        block=block,
        chunks_without_checksum=chunks_without_checksum,
        cube=cube,
        result=result,
        model=model,
        behind=behind,
        growing=growing,
        run=run,
    )


def _commits(store: Store, snapshot: str) -> tuple[int | None, str | None]:
    """How many commits there are after Icechunk's own first one, and when the last was made."""
    ancestry = store.repository().ancestry(snapshot_id=snapshot)
    newest = next(iter(ancestry))
    count = None if store.path is None else sum(1 for _ in ancestry)
    return count, iso(newest.written_at)


def _grid(root: zarr.Group) -> Grid | None:
    """The grid as the conventions of the root, or else of its first group that has them, say."""
    for group in (root, *(group for _, group in sorted(root.groups()))):
        attrs: dict[str, Any] = group.attrs.asdict()
        if "spatial:transform" in attrs:
            rows, columns = attrs["spatial:shape"]
            left, bottom, right, top = attrs["spatial:bbox"]
            return Grid(
                crs=attrs.get("proj:code") or attrs.get("proj:wkt2") or "",
                shape=(rows, columns),
                resolution=abs(attrs["spatial:transform"][0]),
                bounds=(left, bottom, right, top),
            )
    return None


def _sizes(path: Path) -> Iterator[int]:
    """The size of every file below ``path``; what is removed meanwhile counts as nothing."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _sizes(Path(entry.path))
                else:
                    yield entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return


def _not_ours(store: Store) -> InputError:
    """Say what is there instead."""
    path = store.path
    wanted = "a cube, latents, bands or a model is wanted here"
    if path is None or not path.exists():
        return InputError(f"{store}: there is nothing here; {wanted}.")
    if path.is_file():
        if path.suffix == ".parquet":
            wanted += "; `terralatent build` makes a cube of what a search found (scenes=)"
        return InputError(f"{store} is a file; {wanted}.")
    if any((path / name).is_file() for name in CATALOGUE):
        return InputError(
            f"{store} is a folder of scenes; {wanted}: `terralatent build` makes a cube of it."
        )
    return InputError(f"{store} is not of terralatent; {wanted}.")
