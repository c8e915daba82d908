"""Earlier states of a store: listed, opened by name, kept for what was made of them, let go."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import icechunk

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.command import command_line
from terralatent.pipeline.sentence import Sentence
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.digests import rewritten_snapshots
from terralatent.pipeline.store.library_errors import is_taken
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.repository import BRANCH, STEP, Store

__all__ = [
    "Expired",
    "Snapshot",
    "expire",
    "find_snapshot",
    "history",
    "is_earlier",
    "keep_alone_for",
    "keep_for",
]

log = logging.getLogger(__name__)

SHORTEST = 4
"""Characters of a snapshot's id that distinguish it from others, at least."""


@dataclass(frozen=True)
class Snapshot:
    """A state that a store was in."""

    id: str
    """By which ``at=`` opens it."""

    written: str
    """When it was committed, ISO 8601, UTC."""

    message: str
    """What was done."""

    kept_for: tuple[str, ...]
    """Names of the results made from it, which keep it."""

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {**asdict(self), "kept_for": list(self.kept_for)}


@dataclass(frozen=True, repr=False)
class Expired(Sentence):
    """What :func:`expire` let go."""

    store: str
    """Of which store."""

    dropped: tuple[str, ...]
    """Ids of the snapshots that cannot be opened any more."""

    kept: tuple[Snapshot, ...]
    """Older ones that results keep."""

    bytes: int
    """Freed."""

    def __str__(self) -> str:
        kept = f", {len(self.kept)} older kept for results" if self.kept else ""
        return f"{len(self.dropped)} snapshots dropped, {self.bytes / 1e6:,.1f} MB freed{kept}"


def history(store: str | Path | Store) -> tuple[Snapshot, ...]:
    """List the states of a store that can be opened, the newest first; reads no pixels.

    What a cube went through on the way, while it grew out of sight, is left out.

    Raises:
        InputError: If there is no store, or it is plain Zarr, which has no history.
    """
    store = Store.of(store)
    with translated_errors(store):
        repository = _repository(store)
        tags = _tags(repository)
        states = {state.id: state for state in repository.ancestry(branch=BRANCH)}
        for tag in repository.list_tags():
            state = next(iter(repository.ancestry(tag=tag)))
            states.setdefault(state.id, state)
    return tuple(
        Snapshot(
            state.id, state.written_at.isoformat(), state.message, tuple(sorted(tags[state.id]))
        )
        for state in sorted(states.values(), key=lambda state: state.written_at, reverse=True)
        if not _is_hidden(state)
    )


def find_snapshot(store: str | Path | Store, name: str | None) -> str | None:
    """The id of the snapshot that a user means by its id, the first characters of it, or the name
    of what was made from it; None for None.

    Raises:
        InputError: If there is none, or more than one, of that name.
    """
    if name is None:
        return None
    states = history(store)
    ids = [state.id for state in states if name in state.kept_for or name == state.id]
    if not ids and len(name) >= SHORTEST:
        ids = [state.id for state in states if state.id.startswith(name.upper())]
    if len(ids) != 1:
        what = "several snapshots" if ids else "no snapshot"
        raise InputError(
            f"{store} has {what} {name}; its history, as `terralatent status` shows it, lists them."
        )
    return ids[0]


def is_earlier(store: Store, before: str, now: str) -> bool:
    """Whether a snapshot of a store was made before another one of it; not where it is unknown."""
    if not before or not now:
        return False
    with translated_errors(store):
        try:
            made = [
                store.repository().lookup_snapshot(snapshot).written_at
                for snapshot in (before, now)
            ]
        except icechunk.IcechunkError:
            return False
    return made[0] < made[1]


def keep_for(result: str, store: Store, snapshot: str) -> None:
    """Note in a store that a result is made from one of its snapshots, which keeps it.

    A store that may only be read is left as it is. Does nothing for plain Zarr (no ``snapshot``).

    Args:
        result: Absolute path or URL of what is made.
        store: From which it is made.
        snapshot: Which is kept.
    """
    if not snapshot:
        return
    name = f"{_tags_of(result)}{snapshot[:6]}"
    try:
        repository = store.repository()
        if any(tag.startswith(name) for tag in repository.list_tags()):
            return
        _tag(repository, name, snapshot)
    except (icechunk.IcechunkError, OSError) as error:
        log.info("%s keeps no note of %s, which is made from it: %s", store, result, error)


def keep_alone_for(result: str, store: Store, snapshots: Collection[str]) -> None:
    """Let a result keep no snapshots of a store but these: it follows the store as that grows.

    Args:
        result: As for :func:`keep_for`.
        store: From which it is made.
        snapshots: Of which it still has something.
    """
    try:
        repository = store.repository()
        for tag in repository.list_tags():
            mine = tag.startswith(_tags_of(result))
            if mine and repository.lookup_tag(tag) not in snapshots:
                repository.delete_tag(tag)
    except (icechunk.IcechunkError, OSError) as error:
        log.info("%s keeps what %s was made from before: %s", store, result, error)


def _tags_of(result: str) -> str:
    """With which the names of all tags of a result begin."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(result).name).strip("-") or "result"
    return f"{name}-{hashlib.sha256(result.encode()).hexdigest()[:6]}-"


def expire(
    store: str | Path | Store, older_than: str | timedelta, *, release: Sequence[str] = ()
) -> Expired:
    """Let go of old states of a store, and of the chunks that no state needs; writes.

    The newest state stays, and those that results keep. What killed runs left goes too, if it is as
    old.

    Args:
        store: Path or URL of an Icechunk store.
        older_than: Age, such as ``30D`` or ``12h``.
        release: Names of results, as :func:`history` lists them, that keep nothing any more.

    Raises:
        InputError: If the age or a name cannot be used, if another process writes the store, or if
            there is none.
    """
    store = Store.of(store)
    limit = datetime.now(UTC) - _age(older_than)
    with writer_lock(store.location, command_line()), translated_errors(store):
        repository = _repository(store)
        tags = set(repository.list_tags())
        if unknown := sorted(set(release) - tags):
            raise InputError(
                f"{store} keeps nothing for {', '.join(unknown)}; its history, as "
                "`terralatent status` shows it, lists what it does."
            )
        before = {state.id for state in history(store)}
        with rewritten_snapshots(store.location):  # the oldest that stays is written anew
            for tag in release:
                repository.delete_tag(tag)
            repository.expire_snapshots(limit)
            freed = repository.garbage_collect(limit).bytes_deleted
        after = history(replace(store))  # opened anew: what is gone may be remembered
    kept = tuple(
        state
        for state in after[1:]
        if state.kept_for and datetime.fromisoformat(state.written) < limit
    )
    dropped = sorted(before - {state.id for state in after})
    return Expired(str(store), tuple(dropped), kept, freed)


def _repository(store: Store) -> icechunk.Repository:
    store.group()  # says what is there instead
    if not store.snapshot():
        raise InputError(f"{store} is plain Zarr, which has no history.")
    return store.repository()


def _tags(repository: icechunk.Repository) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for tag in repository.list_tags():
        names[repository.lookup_tag(tag)].append(tag)
    return names


def _tag(repository: icechunk.Repository, name: str, snapshot: str) -> None:
    """Name a snapshot; Icechunk never gives a name again that was deleted."""
    for suffix in ("", *(f"-{count}" for count in range(2, 10))):
        try:
            repository.create_tag(name + suffix, snapshot)
            return
        except icechunk.IcechunkError as error:
            if not is_taken(error):
                raise


def _is_hidden(state: icechunk.SnapshotInfo) -> bool:
    return bool(STEP.items() <= state.metadata.items() or state.metadata.get("__root"))


def _age(text: str | timedelta) -> timedelta:
    import pandas as pd  # slow to come, and needed here alone

    try:
        age = pd.Timedelta(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no age; give one such as 30D or 12h.") from error
    if pd.isna(age) or age < pd.Timedelta(0):
        raise InputError(f"{text!r} is no age; give one such as 30D or 12h.")
    return age.to_pytimedelta()
