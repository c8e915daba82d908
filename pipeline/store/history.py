"""Earlier states of a store: told, opened by name, kept for what was made of them, let go."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import icechunk

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.command import command_line
from terralatent.pipeline.store.damage import telling_damage
from terralatent.pipeline.store.location import local_path
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.repository import (
    BRANCH,
    STEP,
    open_group,
    open_repository,
    snapshot_id,
)

__all__ = ["Expired", "Snapshot", "expire", "find_snapshot", "history", "keep_for"]

log = logging.getLogger(__name__)

SHORTEST = 4
"""Characters of a snapshot's id that tell it from others, at least."""


@dataclass(frozen=True)
class Snapshot:
    """A state that a store was in."""

    id: str
    """By which ``--at`` opens it."""

    written: str
    """When it was committed, ISO 8601, UTC."""

    message: str
    """What was done."""

    kept_for: tuple[str, ...]
    """Names of the results made from it, which keep it."""

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return {**asdict(self), "kept_for": list(self.kept_for)}


@dataclass(frozen=True)
class Expired:
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


def history(store: str | Path) -> tuple[Snapshot, ...]:
    """List the states of a store that can be opened, the newest first; reads no pixels.

    What a cube went through on the way, while it grew out of sight, is left out.

    Raises:
        InputError: If there is no store, or it is plain Zarr, which has no history.
    """
    with telling_damage(store):
        repository = _repository(store)
        tags = _tags(repository)
        found = {each.id: each for each in repository.ancestry(branch=BRANCH)}
        for tag in repository.list_tags():
            each = next(iter(repository.ancestry(tag=tag)))
            found.setdefault(each.id, each)
    shown = [each for each in found.values() if not _is_hidden(each)]
    return tuple(
        Snapshot(each.id, each.written_at.isoformat(), each.message, tuple(sorted(tags[each.id])))
        for each in sorted(shown, key=lambda each: each.written_at, reverse=True)
    )


def find_snapshot(store: str | Path, told: str | None) -> str | None:
    """The id of the snapshot that a user means by its id, the first characters of it, or the name
    of what was made from it; None for None.

    Raises:
        InputError: If there is none, or more than one, of that name.
    """
    if told is None:
        return None
    every = history(store)
    named = [one.id for one in every if told in one.kept_for or told == one.id]
    if not named and len(told) >= SHORTEST:
        named = [one.id for one in every if one.id.startswith(told.upper())]
    if len(named) != 1:
        what = "several snapshots" if named else "no snapshot"
        raise InputError(
            f"{store} has {what} {told}; `terralatent status {store} --history` lists them."
        )
    return named[0]


def keep_for(result: str | Path, store: str | Path, snapshot: str) -> None:
    """Note in a store that ``result`` is made from one of its snapshots, which keeps it.

    A store that may only be read is left as it is. Does nothing for plain Zarr (no ``snapshot``).
    """
    if not snapshot:
        return
    where = str(local_path(result) or result)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(where).name).strip("-") or "result"
    name = f"{name}-{hashlib.sha256(where.encode()).hexdigest()[:6]}-{snapshot[:6]}"
    try:
        repository = open_repository(store)
        if any(each.startswith(name) for each in repository.list_tags()):
            return
        _tag(repository, name, snapshot)
    except (icechunk.IcechunkError, OSError) as error:
        log.info("%s keeps no note of %s, which is made from it: %s", store, where, error)


def expire(
    store: str | Path, older_than: str | timedelta, *, release: Sequence[str] = ()
) -> Expired:
    """Let go of old states of a store, and of the chunks that no state needs; writes.

    The newest state stays, and those that results keep. What killed runs left goes too, if it is as
    old.

    Args:
        store: Path or URL of an Icechunk store.
        older_than: Age, such as ``30D`` or ``12h``.
        release: Names of results, as :func:`history` tells them, that keep nothing any more.

    Raises:
        InputError: If the age or a name cannot be used, if another process writes the store, or if
            there is none.
    """
    limit = datetime.now(UTC) - _age(older_than)
    with writer_lock(store, command_line()), telling_damage(store):
        repository = _repository(store)
        tags = set(repository.list_tags())
        if unknown := sorted(set(release) - tags):
            raise InputError(
                f"{store} keeps nothing for {', '.join(unknown)}; `terralatent status {store} "
                "--history` lists what it does."
            )
        before = {each.id for each in history(store)}
        for tag in release:
            repository.delete_tag(tag)
        repository.expire_snapshots(limit)
        freed = repository.garbage_collect(limit).bytes_deleted
        after = history(store)
    old = tuple(
        each for each in after[1:] if each.kept_for and datetime.fromisoformat(each.written) < limit
    )
    return Expired(str(store), tuple(sorted(before - {each.id for each in after})), old, freed)


def _repository(store: str | Path) -> icechunk.Repository:
    open_group(store)  # tells what is there instead
    if not snapshot_id(store):
        raise InputError(f"{store} is plain Zarr, which has no history.")
    return open_repository(store)


def _tags(repository: icechunk.Repository) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for tag in repository.list_tags():
        found[repository.lookup_tag(tag)].append(tag)
    return found


def _tag(repository: icechunk.Repository, name: str, snapshot: str) -> None:
    """Name a snapshot; Icechunk never gives a name again that was deleted."""
    for suffix in ("", *(f"-{count}" for count in range(2, 10))):
        try:
            repository.create_tag(name + suffix, snapshot)
            return
        except icechunk.IcechunkError as error:
            if "already" not in str(error) and "deleted" not in str(error):
                raise


def _is_hidden(each: icechunk.SnapshotInfo) -> bool:
    return bool(STEP.items() <= each.metadata.items() or each.metadata.get("__root"))


def _age(told: str | timedelta) -> timedelta:
    import pandas as pd  # slow to come, and needed here alone

    try:
        age = pd.Timedelta(told)
    except ValueError as error:
        raise InputError(f"{told!r} is no age; give one such as 30D or 12h.") from error
    if pd.isna(age) or age < pd.Timedelta(0):
        raise InputError(f"{told!r} is no age; give one such as 30D or 12h.")
    return age.to_pytimedelta()
