"""Digests of files that no codec protects: Icechunk's own, and all of an export's.

``SHA256SUMS`` lies in the store's folder, a line for each file, as ``sha256sum -c`` reads it.
Of an Icechunk repository it lists snapshots, manifests and transaction logs, which are never
changed once they are written; chunks have checksums of their own, and a branch or a tag that is
changed leads to no snapshot. Of a plain Zarr that :mod:`terralatent.pipeline.export.zarr` made it
lists all files, so that a shard that is gone is not read as fill.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import obstore

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.location import Location, open_objects

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = [
    "SUMS",
    "changed_files",
    "missing_files",
    "read_sums",
    "rewritten_snapshots",
    "seal",
    "unseal",
]

SUMS = "SHA256SUMS"
"""Name of the file of digests."""

FOLDERS = ("manifests", "snapshots", "transactions")
"""Folders of a repository whose files are never changed."""


def seal(
    location: Location, known: Mapping[str, str] | None = None, *, all_files: bool = False
) -> None:
    """Write down the digests of files that have none yet. Reads those alone.

    Args:
        location: Of the store.
        known: Digests that were forgotten meanwhile, of files that may be there still.
        all_files: List all, as of a plain Zarr that is whole; by default those of an Icechunk
            repository that are never changed.
    """
    objects = _objects(location)
    listed = _listed(objects, ("",) if all_files else FOLDERS)
    sums = read_sums(location)
    sums |= {path: digest for path, digest in (known or {}).items() if path in listed}
    new = {path: _digest(objects, path) for path in listed if path not in sums}
    if new:
        lines = [f"{digest}  {path}\n" for path, digest in sorted((sums | new).items())]
        obstore.put(objects, SUMS, "".join(lines).encode())


def unseal(location: Location) -> None:
    """Forget all digests, before files that have one are removed or written anew."""
    with suppress(FileNotFoundError):
        obstore.delete(_objects(location), SUMS)


@contextmanager
def rewritten_snapshots(location: Location) -> Iterator[None]:
    """Let snapshots be written anew, and files be removed, in a ``with`` block.

    However that ends, the digests of all else stay, and those of snapshots that were changed
    before: damage is not sealed.
    """
    sums = read_sums(location)
    snapshots = {path for path in sums if path.startswith("snapshots/")}
    damaged = {path for path, _ in changed_files(location, snapshots)}
    kept = {path: sums[path] for path in sums if path in damaged or path not in snapshots}
    unseal(location)
    try:
        yield
    finally:
        seal(location, kept)


def read_sums(location: Location) -> dict[str, str]:
    """The digests of a store's files by their paths in it; {} where none were written.

    Raises:
        InputError: If the list itself was changed.
    """
    try:
        text = bytes(obstore.get(_objects(location), SUMS).bytes())
    except FileNotFoundError:
        return {}
    try:
        lines = [line.split("  ", 1) for line in text.decode().splitlines()]
        return {path: digest for digest, path in lines}
    except ValueError as error:
        raise InputError(
            f"{location} is damaged: its file {SUMS} was changed. Remove that file: what it lists "
            "is then read unchecked, until the next run that writes lists it anew."
        ) from error


def missing_files(location: Location, sums: Collection[str]) -> list[str]:
    """Those of some paths at which there is no file. Reads none."""
    return sorted(set(sums) - set(_listed(_objects(location))))


def changed_files(
    location: Location, paths: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """The files that are missing or not as their digests say, each with what is wrong.

    Files without a digest are passed over: a run that was killed between a commit and its digests
    leaves some.

    Args:
        location: Of the store.
        paths: Those to look at; all that have a digest by default.

    Raises:
        InputError: If the list of digests was changed.
    """
    objects = _objects(location)
    for path, digest in read_sums(location).items():
        if paths is not None and path not in paths:
            continue
        wrong = _wrong(objects, path, digest)
        # Another process may have let old states go meanwhile, and their digests before.
        if wrong and read_sums(location).get(path) == digest:
            yield path, wrong


def _wrong(objects: ObjectStore, path: str, digest: str) -> str:
    try:
        return "" if _digest(objects, path) == digest.lower() else "was changed"
    except (FileNotFoundError, ValueError):  # a name that no file has
        return "is missing"


def _digest(objects: ObjectStore, path: str) -> str:
    digest = hashlib.sha256()
    for part in obstore.get(objects, path):
        digest.update(part)
    return digest.hexdigest()


def _listed(objects: ObjectStore, folders: Collection[str] = ("",)) -> list[str]:
    return sorted(
        item["path"]
        for folder in folders
        for items in obstore.list(objects, folder or None)
        for item in items
        if item["path"] != SUMS
    )


def _objects(location: Location) -> ObjectStore:
    if isinstance(location, Path):
        from obstore.store import LocalStore

        return LocalStore(location)
    return open_objects(location, location.path)
