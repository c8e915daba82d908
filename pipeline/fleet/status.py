"""How a fleet stands, tile by tile: from notes while they hold, else from the stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.listing import html_of, text_of
from terralatent.pipeline.cube.losses import DONE as WHOLE
from terralatent.pipeline.cube.losses import PENDING
from terralatent.pipeline.fleet.notes import DONE, FAILED, PARTIAL, Note, read_note, snapshots_of
from terralatent.pipeline.fleet.tiles import KINDS, Tile
from terralatent.pipeline.json_value import json_value
from terralatent.pipeline.store.location import is_url
from terralatent.pipeline.store.lock.writer import read_run

__all__ = ["BEGUN", "NONE", "OUTDATED", "STATES", "FleetStatus", "StoreState", "TileStatus"]

BEGUN, OUTDATED, NONE = "begun", "outdated", "none"
"""Beside :data:`DONE`, :data:`PARTIAL` and :data:`FAILED`: some is there; what it was made from has
changed since; nothing is there."""

STATES = (DONE, PARTIAL, OUTDATED, BEGUN, FAILED, NONE)
"""In the order of a table."""

VERBS = {"cube": "build", "latents": "embed", "annual": "annual", "landcover": "classify"}
"""Of each kind of store, which verb makes it."""

READERS, LOCAL_READERS = 16, 2
"""Tiles that are read at the same time: of object stores most of it is waiting."""


@dataclass(frozen=True)
class StoreState:
    """How one store of a tile stands."""

    state: str
    """One of :data:`STATES`."""

    done: int | None = None
    """Read tasks or blocks that are done; None where its note says all that there is to say."""

    total: int | None = None
    """All of them."""

    running: bool = False
    """Whether a process writes it now."""

    text: str = ""
    """What the latest run said of it: what was done, or why it failed."""


@dataclass(frozen=True)
class TileStatus:
    """How one tile stands."""

    tile: Tile
    """Which."""

    stores: Mapping[str, StoreState]
    """By kind, see :data:`~terralatent.pipeline.fleet.tiles.KINDS`."""

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        tile = self.tile
        return {
            "tile": tile.name,
            "crs": tile.crs,
            "bounds": list(tile.bounds),
            "shape": list(tile.shape),
            "folder": tile.folder,
            "stores": {kind: asdict(own) for kind, own in self.stores.items()},
        }


@dataclass(frozen=True, repr=False)
class FleetStatus:
    """How a fleet stands. Shown as a table of its states."""

    fleet: str
    """Path of its table."""

    tiles: tuple[TileStatus, ...]
    """In the order of the plan."""

    def counts(self) -> dict[str, dict[str, int]]:
        """By kind of store and state, the number of tiles."""
        every = {kind: Counter(own.stores[kind].state for own in self.tiles) for kind in KINDS}
        return {kind: {state: count[state] for state in STATES} for kind, count in every.items()}

    def failed(self) -> list[tuple[str, str, str]]:
        """Tile, kind of store and reason of all that failed or is not whole."""
        return [
            (own.tile.name, kind, store.text)
            for own in self.tiles
            for kind, store in own.stores.items()
            if store.state in (FAILED, PARTIAL)
        ]

    def running(self) -> list[tuple[str, str]]:
        """Tile and kind of store of all that is being written."""
        return [
            (own.tile.name, kind)
            for own in self.tiles
            for kind, store in own.stores.items()
            if store.running
        ]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        values = {
            "fleet": self.fleet,
            "counts": self.counts(),
            "tiles": [own.to_json() for own in self.tiles],
        }
        return dict(json_value(values))

    def __repr__(self) -> str:
        return text_of(self._head(), [(kind, words) for kind, words in self._rows()])

    def _repr_html_(self) -> str:
        return html_of(self._head(), self._rows())

    def _head(self) -> str:
        return f"fleet {self.fleet}, {len(self.tiles):,} tiles"

    def _rows(self) -> list[tuple[str, str]]:
        return [
            (kind, ", ".join(f"{count:,} {state}" for state, count in counts.items() if count))
            for kind, counts in self.counts().items()
            if counts[NONE] < len(self.tiles)
        ] or [("cube", f"{len(self.tiles):,} none")]


def fleet_status(path: Path, tiles: Sequence[Tile]) -> FleetStatus:
    """See how all tiles stand. Reads no pixels, and changes nothing.

    Args:
        path: Of the fleet's table.
        tiles: Its tiles.
    """
    far = any(is_url(tile.folder) for tile in tiles[:1])
    with ThreadPoolExecutor(READERS if far else LOCAL_READERS) as readers:
        return FleetStatus(str(path), tuple(readers.map(_tile_status, tiles)))


def _tile_status(tile: Tile) -> TileStatus:
    return TileStatus(tile, {kind: _store_state(tile, kind) for kind in KINDS})


def _store_state(tile: Tile, kind: str) -> StoreState:
    note = read_note(tile, VERBS[kind])
    if note is not None and note.snapshots:
        now = snapshots_of(tile, note.snapshots)
        if now[kind] and now[kind] == note.snapshots.get(kind):
            state = note.state if now == dict(note.snapshots) else OUTDATED
            return StoreState(state, text=note.text)
    counted = _counted(tile, kind)
    if counted is None:
        return _noted(note) or StoreState(NONE)
    done, partial, total, running = counted
    if note is not None and note.state == FAILED and not running:
        return StoreState(FAILED, done, total, text=note.text)
    state = BEGUN if done < total or running else PARTIAL if partial else DONE
    return StoreState(state, done, total, running)


def _noted(note: Note | None) -> StoreState | None:
    """What a note says of a store that is not there."""
    if note is None or note.state != FAILED:
        return None
    return StoreState(FAILED, text=note.text)


def _counted(tile: Tile, kind: str) -> tuple[int, int, int, bool] | None:
    """Of a store: what is done, what of it is not whole, how much there is, and whether it is being
    written; None where there is no store."""
    store = tile.store(kind)
    try:
        run = read_run(store.location)
        running = run is not None and run.going
        if not store.exists():
            return (0, 0, 1, True) if running else None
        root = store.group()
        states = [np.asarray(group["state"]) for group in _stated(root)]
    except InputError:  # laid out only now, or damaged: `status` of the store says more
        return 0, 0, 1, False
    done = sum(int((state != PENDING).sum()) for state in states)
    whole = sum(int((state == WHOLE).sum()) for state in states)
    return done, done - whole, sum(state.size for state in states), running


def _stated(root: zarr.Group) -> list[Any]:
    """The groups that have states: the sensors of a cube, or the root of a result."""
    if "state" in root:
        return [root]
    return [group for _, group in root.groups() if "state" in group]
