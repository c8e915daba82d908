"""One verb over all tiles of a fleet: several in flight on one cluster, resumed by the same call.

Each tile in flight has a thread here that waits for its tasks; work is done by the workers, which
all of them share. What one tile must do alone (its search, its layout, its commits) goes on beside
the tasks of the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import dask
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cluster.scheduler_loss import SchedulerLostError
from terralatent.pipeline.cluster.tasks import KEEP_LOST, one_line
from terralatent.pipeline.cluster.workers import shared_by_threads
from terralatent.pipeline.fleet.notes import (
    DONE,
    FAILED,
    PARTIAL,
    Note,
    digest_of,
    read_note,
    snapshots_of,
)
from terralatent.pipeline.fleet.tiles import AT_ONCE, Tile
from terralatent.pipeline.interrupts import ended_by
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.sentence import Sentence

__all__ = ["FleetReport", "FleetVerb", "LostTile", "run_fleet"]

log = logging.getLogger(__name__)

POLL_S = 0.2
"""How often it is checked whether Ctrl-C was pressed."""

PATIENCE_S = 15.0
"""How long tiles in flight have, after Ctrl-C, to commit what is done."""


@dataclass(frozen=True, eq=False)
class FleetVerb:
    """What is done with every tile."""

    name: str
    """Of the verb, as ``build``; of its notes and the title of its progress too."""

    result: str
    """Kind of the store that it makes."""

    request: Mapping[str, Any]
    """What makes its result another one, beside the tile and what is read; JSON values."""

    run: Callable[[Tile, Client, Progress], Any]
    """Does it on one tile, called in a thread; gives a report whose ``losses`` are what could not
    be read or computed."""

    made_from: tuple[str, ...] = ()
    """Kinds of the tile's stores that are read."""

    threads: int = 1
    """Tasks that one worker process, where these are started here, works on at a time."""

    fresh_s: float | None = None
    """How long a tile counts as done, where what is read may change out of sight; else for ever."""

    facts: Callable[[Any], Mapping[str, Any]] | None = None
    """What a note keeps of a report, JSON values."""

    def request_of(self, tile: Tile) -> str:
        """Digest of what is requested of a tile."""
        planned = [tile.epsg, *tile.bounds, tile.start, tile.end, *tile.sensors]
        return digest_of({**self.request, "tile": planned})

    def is_done(self, tile: Tile) -> Note | None:
        """The note that says so, if it holds. Opens no store."""
        note = read_note(tile, self.name)
        if note is None or note.state != DONE or note.request != self.request_of(tile):
            return None
        if self.fresh_s is not None and note.age_s() > self.fresh_s:
            return None
        return note if note.holds(tile) else None


@dataclass(frozen=True)
class LostTile:
    """A tile that failed and was passed over, or is not whole; the same command tries it again."""

    tile: str
    """Its name."""

    reason: str
    """Why, in one line."""

    def row(self) -> dict[str, str]:
        """What a table of them shows, by column."""
        return {"tile": self.tile, "reason": self.reason}

    def __str__(self) -> str:
        return f"tile {self.tile}: {self.reason}"


@dataclass(frozen=True, repr=False)
class FleetReport(Sentence):
    """How a verb on a fleet ended."""

    verb: str
    """Its name."""

    tiles: int
    """Of the fleet."""

    before: int
    """Tiles that were done before."""

    done: int
    """Tiles that were gone through now, those counted that are not whole."""

    partial: tuple[LostTile, ...]
    """Of them, those of which something could not be read or computed."""

    failed: tuple[LostTile, ...]
    """Tiles that were passed over."""

    wall: float
    """Seconds."""

    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By tile, what was noted of it."""

    @property
    def losses(self) -> tuple[LostTile, ...]:
        """What is to be tried again."""
        return (*self.failed, *self.partial)

    def __str__(self) -> str:
        before = f", {self.before:,} done before" if self.before else ""
        failed = f", {len(self.failed):,} failed" if self.failed else ""
        partial = f", {len(self.partial):,} of these not whole" if self.partial else ""
        again = " (the same command tries them again)" if self.losses else ""
        return (
            f"{self.done:,} of {self.tiles:,} tiles in {self.wall:,.0f} s"
            f"{partial}{before}{failed}{again}"
        )


def run_fleet(
    tiles: Sequence[Tile],
    verb: FleetVerb,
    workers: Workers,
    *,
    at_once: int = AT_ONCE,
    progress: Progress,
) -> FleetReport:
    """Run a verb over the tiles that are not done, and note of each how it ended. Computes.

    Args:
        tiles: In the order in which they are begun.
        verb: What is done.
        workers: Who computes; asked for only where something is left to do.
        at_once: Tiles in flight.
        progress: Advanced by each tile.

    Raises:
        InputError: If the workers cannot be had, or the scheduler is lost.
        KeyboardInterrupt: On Ctrl-C, after the tiles in flight have committed what was done.
    """
    if at_once < 1:
        raise InputError(f"{at_once} tiles at once do nothing; give one at least.")
    begun = time.monotonic()
    before = {tile.name: note for tile in tiles if (note := verb.is_done(tile)) is not None}
    left = [tile for tile in tiles if tile.name not in before]
    ended: dict[str, Note] = {}
    if left:
        shown = _FleetProgress(progress)
        progress.start(len(tiles), verb.name)
        progress.advance(len(before))
        try:
            with (
                workers.join(verb.threads) as client,
                shared_by_threads(client),
                dask.config.set(KEEP_LOST),
            ):
                _Flight(verb, client, shown, left).fly(min(at_once, len(left)), ended)
        finally:
            progress.close()
    names = [tile.name for tile in left]
    notes = {**before, **ended}
    return FleetReport(
        verb=verb.name,
        tiles=len(tiles),
        before=len(before),
        done=sum(ended[name].state != FAILED for name in names),
        partial=_lost(names, ended, PARTIAL),
        failed=_lost(names, ended, FAILED),
        wall=time.monotonic() - begun,
        facts={tile.name: notes[tile.name].facts for tile in tiles},
    )


def _lost(names: Sequence[str], ended: Mapping[str, Note], state: str) -> tuple[LostTile, ...]:
    return tuple(LostTile(name, ended[name].text) for name in names if ended[name].state == state)


class _Flight:
    """The tiles that are worked on, each in a thread, and those that are to follow them."""

    def __init__(
        self, verb: FleetVerb, client: Client, shown: _FleetProgress, left: Sequence[Tile]
    ) -> None:
        self._verb, self._client, self._shown = verb, client, shown
        self._left, self._end = deque(left), threading.Event()
        self._ended: SimpleQueue[tuple[Tile, Note | BaseException]] = SimpleQueue()

    def fly(self, at_once: int, ended: dict[str, Note]) -> None:
        """Work on so many tiles at once, until none is left; each is noted in ``ended``.

        Raises:
            InputError: If the scheduler is lost.
            KeyboardInterrupt: On Ctrl-C.
        """
        flying: dict[str, threading.Thread] = {}
        try:
            while self._left or flying:
                while self._left and len(flying) < at_once:
                    tile = self._left.popleft()
                    flying[tile.name] = self._start(tile)
                with suppress(Empty):
                    tile, outcome = self._ended.get(timeout=POLL_S)
                    if isinstance(outcome, BaseException):
                        raise outcome
                    flying.pop(tile.name).join()
                    ended[tile.name] = outcome
                    self._shown.end(tile.name)
        finally:
            # In threads no signal is heard. What is done is committed; then they end.
            self._end.set()
            until = time.monotonic() + PATIENCE_S
            for thread in flying.values():
                thread.join(max(0.0, until - time.monotonic()))

    def _start(self, tile: Tile) -> threading.Thread:
        # A thread that hangs does not keep the process: its store is as whole as after a kill.
        thread = threading.Thread(
            target=self._work, args=(tile,), name=f"tile {tile.name}", daemon=True
        )
        thread.start()
        return thread

    def _work(self, tile: Tile) -> None:
        with ended_by(self._end):
            try:
                outcome: Note | BaseException = self._note(tile)
            except BaseException as error:  # of all tiles: it ends them
                outcome = error
        self._ended.put((tile, outcome))

    def _note(self, tile: Tile) -> Note:
        """Do it, and note how it ended.

        Raises:
            SchedulerLostError: If no other tile can go on either.
            KeyboardInterrupt: If the end was heard.
        """
        verb = self._verb
        request = verb.request_of(tile)
        try:
            report = verb.run(tile, self._client, self._shown.of(tile.name))
        except SchedulerLostError:
            raise
        except Exception as error:  # of this tile; it is passed over
            if self._client.status == "closed":
                raise
            log.debug("tile %s failed", tile.name, exc_info=True)
            note = Note(FAILED, request, text=one_line(error))
        else:
            losses = [str(loss) for loss in getattr(report, "losses", ())]
            text = str(report)
            if losses:
                text = f"{len(losses)} losses, the first: {losses[0]}"
            note = Note(
                PARTIAL if losses else DONE,
                request,
                snapshots_of(tile, (*verb.made_from, verb.result)),
                text,
                verb.facts(report) if verb.facts else {},
            )
        note.write(tile, verb.name)
        return note


class _FleetProgress:
    """Shows tiles, and what is done within those in flight, as one stage; from any thread."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock = progress, threading.Lock()
        self._pieces, self._rates = 0, dict[str, float]()

    def of(self, tile: str) -> Progress:
        """What a verb advances that works on one tile."""
        return _TileProgress(self, tile)

    def count(self, tile: str, n: int, fields: Mapping[str, float | str]) -> None:
        """Count ``n`` more pieces of a tile: read tasks, or blocks."""
        with self._lock:
            self._pieces += n
            rate = fields.get("pixels/s")
            if isinstance(rate, float):
                self._rates[tile] = rate
            total = {"pixels/s": sum(self._rates.values())} if self._rates else {}
            self._progress.advance(0, pieces=float(self._pieces), **total)

    def end(self, tile: str) -> None:
        """Count a tile as done."""
        with self._lock:
            self._rates.pop(tile, None)
            self._progress.advance(1)


@dataclass(frozen=True)
class _TileProgress:
    """Of one tile; its stages are no stages of the fleet."""

    fleet: _FleetProgress
    tile: str

    def start(self, total: int, title: str) -> None:
        """Begin a stage of the tile, which is not shown."""

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count pieces of the tile."""
        self.fleet.count(self.tile, n, fields)

    def close(self) -> None:
        """End a stage of the tile."""
