"""Whether a store is as it was written: everything in it is read once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.progress import ProgressChoice, choose_progress
from terralatent.pipeline.store.chunks import DamagedChunkError, chunk_keys
from terralatent.pipeline.store.damage import damage_of, translated_errors
from terralatent.pipeline.store.digests import SUMS, changed_files, read_sums
from terralatent.pipeline.store.history import find_snapshot
from terralatent.pipeline.store.repository import COMMAND, Store

__all__ = ["Check", "Damage", "check_store"]

CHECKSUM_FLAG = 0b100
"""Of the fifth byte of a frame of Zstandard (RFC 8878, 3.1.1.1.1): a checksum follows the data."""

NOT_STORED = 2**64 - 1
"""Offset, in the index of a shard, of an inner chunk that is not stored (Zarr v3)."""


@dataclass(frozen=True)
class Damage:
    """A chunk, or a file, that is missing or not as it was written."""

    array: str | None
    """Path of the chunk's array; None for a file of no chunk."""

    chunk: tuple[int, ...]
    """Its place among the chunks of the array, among the shards where it has those."""

    file: str | None
    """Path of the file within the store; None for a chunk."""

    reason: str
    """What was found."""

    def __str__(self) -> str:
        place = "/".join(map(str, self.chunk))
        named = f"chunk {place} of {self.array}" if self.file is None else f"file {self.file}"
        return f"{named}: {self.reason}"


@dataclass(frozen=True)
class Check:
    """What :func:`check_store` found."""

    store: str
    """Which store."""

    snapshot: str
    """Whose chunks were read; ``""`` for plain Zarr."""

    files: int
    """Files whose digests were compared."""

    chunks: int
    """Chunks that were read, shards where an array has those."""

    without_checksum: int
    """Of these, how many a version of before wrote without one: what is wrong there may be read as
    data."""

    damaged: tuple[Damage, ...]
    """All that is damaged; of plain Zarr a chunk may be there as a file too."""

    command: str | None
    """What was run last on the store, which makes again what is opened again; None where no commit
    says so."""

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


def check_store(
    store: str | Path | Store, *, at: str | None = None, progress: ProgressChoice = None
) -> Check:
    """Read every chunk of a store, and every file that has a digest, once. Changes nothing.

    Reads in as many threads as this process has cores, a shard in memory for each of them.

    Args:
        store: A cube, latents or bands, by path or URL.
        at: An earlier snapshot, see :func:`terralatent.pipeline.store.history.find_snapshot`.
        progress: Advanced by each chunk; True: a bar, as by default in a notebook.

    Raises:
        InputError: If there is no store, or so much of it is missing that nothing can be read.
    """
    store = Store.of(store)
    if not store.exists():
        store.group()  # says what is there instead
    damaged = list(_changed_files(store))
    files = 0 if any(damage.file == SUMS for damage in damaged) else len(read_sums(store.location))
    try:
        with translated_errors(store):
            snapshot = find_snapshot(store, at) or store.snapshot()
            root = store.group(snapshot=snapshot or None)
            command = _last_command(store, snapshot) if snapshot else None
    except InputError:
        if not damaged:
            raise
        return Check(str(store), "", files, 0, 0, tuple(damaged), None)
    chunks = list(_chunks(root))
    without = 0
    bar = choose_progress(progress)
    bar.start(len(chunks), "check")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        read = [pool.submit(partial(_read, store), array, key) for array, key in chunks]
        for done in as_completed(read):
            damage, has_checksum = done.result()
            damaged += [damage] if damage else []
            without += not has_checksum
            bar.advance(1, damaged=len(damaged))
    bar.close()
    damaged.sort(key=lambda damage: (damage.array or "", damage.chunk, damage.file or ""))
    return Check(str(store), snapshot, files, len(chunks), without, tuple(damaged), command)


def _changed_files(store: Store) -> Iterator[Damage]:
    try:
        for path, wrong in changed_files(store.location):
            yield Damage(None, (), path, wrong)
    except InputError:
        yield Damage(None, (), SUMS, "was changed")


def _last_command(store: Store, snapshot: str) -> str | None:
    for state in store.repository().ancestry(snapshot_id=snapshot):
        if command := state.metadata.get(COMMAND):
            return str(command)
    return None


def _chunks(root: zarr.Group) -> Iterator[tuple[zarr.Array, str]]:
    for _, node in sorted(root.members(max_depth=None)):
        if isinstance(node, zarr.Array):
            yield from ((node, key) for key in sorted(chunk_keys(node)))


def _read(store: Store, array: zarr.Array, key: str) -> tuple[Damage | None, bool]:
    """Read one chunk, or shard; gives what is wrong with it, and whether it has checksums."""
    place = _place(array, key)
    try:
        sizes = array.shards or array.chunks
        array[tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, sizes, strict=True))]
    except DamagedChunkError as error:
        return Damage(array.path, place, None, error.reason), True
    except Exception as error:
        if (reason := damage_of(error)) is None:
            raise
        return Damage(array.path, place, None, reason), True
    return None, _has_checksums(array, key)


def _place(array: zarr.Array, key: str) -> tuple[int, ...]:
    below = key.removeprefix(f"{array.path}/").removeprefix("c").strip("/")
    return tuple(int(index) for index in below.split("/")) if below else ()


def _has_checksums(array: zarr.Array, key: str) -> bool:
    """Whether all that is stored of a chunk, or of a shard's inner chunks, ends in a checksum."""
    stored: Any = sync(array.store.get(key, default_buffer_prototype()))
    raw = stored.to_bytes()
    starts = np.array([0], dtype=np.uint64)
    if array.shards is not None:
        inner = prod(s // c for s, c in zip(array.shards, array.chunks, strict=True))
        index = np.frombuffer(raw[-16 * inner - 4 : -4], dtype="<u8").reshape(inner, 2)
        starts = index[index[:, 0] != NOT_STORED, 0]
    return all(raw[int(start) + 4] & CHECKSUM_FLAG for start in starts)
