"""What became of a verb on a tile: a note in the tile's folder, which holds while its stores do.

A run of 1,000 tiles that were done before is to take seconds, and a status too, so neither opens
every store. The note says at which snapshots the stores were that a verb read and made; where they
are at others by now, it says nothing, and the verb itself finds out what is to be done.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.fleet.tiles import Tile
from terralatent.pipeline.json_value import json_value
from terralatent.pipeline.store.location import (
    Place,
    locate,
    open_objects,
    translated_object_errors,
)
from terralatent.pipeline.store.lock.run_note import iso
from terralatent.pipeline.store.repository import BRANCH, Store

__all__ = ["DONE", "FAILED", "PARTIAL", "Note", "digest_of", "read_note", "snapshots_of"]

DONE, PARTIAL, FAILED = "done", "partial", "failed"
"""States of a verb on a tile: all is there; something could not be read; an error ended it."""

FOLDER = ".fleet"
"""Of the notes, in the folder of a tile."""


@dataclass(frozen=True)
class Note:
    """How the latest run of a verb on a tile ended."""

    state: str
    """:data:`DONE`, :data:`PARTIAL` or :data:`FAILED`."""

    request: str = ""
    """Digest of what was requested."""

    snapshots: Mapping[str, str] = field(default_factory=dict)
    """By kind, the states of the stores that were read and made; none where it failed."""

    text: str = ""
    """What was done, or why it failed, in one line."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    """More of it, JSON values."""

    written: str = ""
    """When it was noted; ISO 8601, UTC."""

    def age_s(self) -> float:
        """Seconds since it was written."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.written)).total_seconds()

    def holds(self, tile: Tile) -> bool:
        """Whether the stores are still as they were."""
        return bool(self.snapshots) and snapshots_of(tile, self.snapshots) == self.snapshots

    def write(self, tile: Tile, verb: str) -> None:
        """Keep it, whole or not at all.

        Raises:
            InputError: If it cannot be written.
        """
        content = json.dumps(json_value({**asdict(self), "written": iso()})).encode()
        location = locate(f"{tile.folder}/{FOLDER}/{verb}.json")
        if isinstance(location, Place):
            import obstore

            with translated_object_errors(location):
                obstore.put(open_objects(location), location.path, content)
            return
        try:
            location.parent.mkdir(parents=True, exist_ok=True)
            aside = location.with_name(f".{location.name}.{os.getpid()}")
            aside.write_bytes(content)
            os.replace(aside, location)
        except OSError as error:
            raise InputError(f"{location} cannot be written: {error.strerror or error}.") from error


def read_note(tile: Tile, verb: str) -> Note | None:
    """The note of a verb on a tile; None where there is none that can be read."""
    location = locate(f"{tile.folder}/{FOLDER}/{verb}.json")
    try:
        values = json.loads(_content(location))
        known = {own.name for own in fields(Note)} & values.keys()
        return Note(**{name: values[name] for name in known})
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return None


def snapshots_of(tile: Tile, kinds: Mapping[str, Any] | tuple[str, ...]) -> dict[str, str]:
    """The newest snapshots of a tile's stores, by kind; ``""`` where there is no such store."""
    found = {}
    for kind in kinds:
        store = tile.store(kind)
        try:
            found[kind] = _tip(store)
        except InputError:  # damaged: whoever opens it says so
            found[kind] = ""
    return found


def _tip(store: Store) -> str:
    """The newest snapshot of a store; of a local one without opening it, which 1,000 would feel.

    Icechunk's specification says where a branch of format 1 is kept; others are opened.
    """
    if store.path is not None:
        try:
            file = store.path / "refs" / f"branch.{BRANCH}" / "ref.json"
            return str(json.loads(file.read_bytes())["snapshot"])
        except (OSError, ValueError, LookupError):
            pass
    return store.snapshot() if store.exists() else ""


def digest_of(request: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values, in hexadecimal."""
    text = json.dumps(json_value(request), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _content(location: Path | Place) -> bytes:
    if isinstance(location, Path):
        return location.read_bytes()
    import obstore

    with translated_object_errors(location):
        return bytes(obstore.get(open_objects(location), location.path).bytes())
