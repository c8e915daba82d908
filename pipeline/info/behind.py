"""Whether a result is of an earlier state of what it is made from, and what mends that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.command import PROGRAM
from terralatent.pipeline.cube.losses import STALE
from terralatent.pipeline.store.history import is_earlier
from terralatent.pipeline.store.repository import COMMAND, Store
from terralatent.pipeline.store.whereabouts import MADE_FROM, resolve_beside

__all__ = ["Behind", "find_behind"]

OF_ORIGIN = ("cube_snapshot", "latents_snapshot")
"""Attributes that name the snapshot that a result is made from; the last that is there counts."""

LIVE, AT = "--live", "--at"


@dataclass(frozen=True)
class Behind:
    """What a result does not know yet."""

    origin: str
    """What it is made from: its absolute path or URL."""

    snapshots: tuple[str, ...]
    """Of which it is, where there is a later one; of annual vectors of some windows each."""

    newest: str
    """The newest snapshot of the origin."""

    dates: int
    """Dates that the origin has more than then."""

    stale: int
    """Blocks with dates of before their newest acquisitions."""

    command: str | None
    """What made the result, and brings it up to date when it is run again; None where that is no
    command of this program."""

    def __str__(self) -> str:
        words = []
        if self.snapshots:
            more = f", {self.dates} dates more" if self.dates else ""
            words.append(f"{self.origin} has changed since{more}")
        if self.stale:
            words.append(f"dates of {self.stale} blocks are stale")
        return "; ".join(words)


def find_behind(store: Store, root: zarr.Group) -> Behind | None:
    """Compare a result with what it is made from; None where it is of the newest state of that, or
    that is not there. Reads coordinates and attributes.

    Args:
        store: The result.
        root: Of it.
    """
    attrs: dict[str, Any] = root.attrs.asdict()
    stale = int(np.asarray(root[STALE]).any(axis=0).sum()) if STALE in root else 0
    place = resolve_beside(store, str(attrs.get(MADE_FROM, "")))
    command = _command(store, smooth=bool(stale))
    meant = AT in (command or "").split()  # that very state was requested
    found = _later(Store.of(place), _snapshots(root, attrs)) if place and not meant else None
    if found is None and not stale:
        return None
    origin, snapshots, newest, dates = found or (place or "", (), "", 0)
    return Behind(origin, snapshots, newest, dates, stale, command)


def _snapshots(root: zarr.Group, attrs: dict[str, Any]) -> set[str]:
    if "cube_snapshot" in root:
        return {str(own) for own in np.asarray(root["cube_snapshot"])}
    named = [str(attrs[name]) for name in OF_ORIGIN if attrs.get(name)]
    return set(named[-1:])


def _later(origin: Store, snapshots: set[str]) -> tuple[str, tuple[str, ...], str, int] | None:
    """The origin, which of these snapshots are earlier ones of it, its newest, and dates more."""
    try:
        newest = origin.snapshot() if origin.exists() else ""
        earlier = tuple(sorted(own for own in snapshots if is_earlier(origin, own, newest)))
        if not earlier:
            return None
        counts = [_count(origin.group(snapshot=own)) for own in (newest, *earlier)]
    except (InputError, OSError):  # it is damaged, or cannot be reached: another command says so
        return None
    return origin.address, earlier, newest, max(0, counts[0] - min(counts[1:]))


def _count(root: zarr.Group) -> int:
    """Dates of a cube's sensors together, or of a result."""
    groups = [group for _, group in root.groups() if "data" in group] or [root]
    return sum(int(group["time"].shape[0]) for group in groups if "time" in group)


def _command(store: Store, *, smooth: bool) -> str | None:
    """The command that filled the store last; one that smooths anew where dates are stale."""
    if store.is_plain:
        return None
    repository = store.repository()
    for state in repository.ancestry(branch="main"):
        command = str(state.metadata.get(COMMAND, ""))
        if command.startswith(f"{PROGRAM} ") and not command.startswith(f"{PROGRAM} overviews"):
            return command.replace(f" {LIVE}", "") if smooth else command
    return None
