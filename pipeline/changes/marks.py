"""Which pixels of a map are marked as changed, once all of them are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.pipeline.changes.arrays import (
    CHANGED,
    EXPECTED,
    NOT_KNOWN,
    OUTSIDE,
    SIGNIFICANCE,
    UNCHANGED,
)
from terralatent.pipeline.changes.discovery import Discoveries, discover
from terralatent.pipeline.cluster.stream import Commits, clean_session
from terralatent.pipeline.command import command_line
from terralatent.pipeline.cube.losses import PENDING
from terralatent.pipeline.overviews.make import outdate
from terralatent.pipeline.region import Block, blocks, grid_of
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["Marked", "mark"]

MESSAGE = "mark what changed"


@dataclass(frozen=True)
class Marked:
    """What became of the pixels of one date of a map."""

    time: str
    """The date, ISO 8601."""

    changed: int
    unchanged: int
    not_known: int
    """Pixels inside some scene of which too little is known."""

    tests: int
    """Pixels that the rate is over."""

    threshold: float | None
    """The smallest -log10 p of a change; None where there is none."""


def mark(out: Store, rate: float) -> tuple[Marked, ...]:
    """Mark what changed, each date by itself, and note how much it is; writes what differs.

    Reads the map in this process, block by block, which takes a small part of the time that the
    latents took.

    Args:
        out: A map of changes.
        rate: Of false discoveries among those that are marked.

    Returns:
        Nothing where some blocks are not done: which p-value is small enough depends on all.

    Raises:
        InputError: If the map is damaged, or written by another process.
    """
    with writer_lock(out.location, command_line()), translated_errors(out):
        root = out.group()
        if (np.asarray(root["state"]) == PENDING).any():
            return ()
        times = np.asarray(root["time"]).astype("datetime64[us]").astype("datetime64[s]")
        session = clean_session(out, Commits(message=MESSAGE))
        group = zarr.open_group(session.store, mode="r+")
        marked = tuple(_mark_date(group, at, str(time), rate) for at, time in enumerate(times))
        noted = {"false_discovery_rate": rate, "marked": [asdict(own) for own in marked]}
        if {name: group.attrs.get(name) for name in noted} != noted:
            group.update_attributes(noted)
        if session.has_uncommitted_changes:
            out.commit(session, MESSAGE)
        return marked


def _mark_date(group: zarr.Group, date: int, time: str, rate: float) -> Marked:
    found = discover(partial(_significances, group, date), rate)
    counts = np.zeros(256, np.int64)
    for block in _blocks(group):
        flags = _flags(group, date, block, found)
        counts += np.bincount(flags.ravel(), minlength=256)
        changed: Any = group["changed"]
        if (np.asarray(changed[date, block.y, block.x]) != flags).any():
            changed[date, block.y, block.x] = flags
            outdate(group, block)
    return Marked(
        time, int(counts[CHANGED]), int(counts[UNCHANGED]), int(counts[NOT_KNOWN]), found.tests,
        found.threshold if found.count else None,
    )  # fmt: skip


def _flags(group: Any, date: int, block: Block, found: Discoveries) -> NDArray[np.uint8]:
    """What is stored as ``changed`` of a block."""
    at = (date, block.y, block.x)
    significance = np.asarray(group[SIGNIFICANCE][at])
    inside = np.isfinite(np.asarray(group["distance"][at]))
    enough = ~np.isnan(significance)
    if EXPECTED in group:  # a change of the usual size must stand out from what chance makes
        degrees = np.asarray(group["degrees"][at])
        enough &= np.square(np.asarray(group[EXPECTED][at])) >= degrees
    flags = np.where(enough, UNCHANGED, NOT_KNOWN)
    flags[found.among(significance)] = CHANGED
    flags[~inside] = OUTSIDE
    return flags.astype(np.uint8)


def _significances(group: Any, date: int) -> Iterator[NDArray[np.float32]]:
    for block in _blocks(group):
        yield np.asarray(group[SIGNIFICANCE][date, block.y, block.x]).ravel()


def _blocks(group: Any) -> list[Block]:
    rows, columns = grid_of(group).shape
    return list(blocks((rows, columns), int(group.attrs[ABOUT]["identity"]["block"])))
