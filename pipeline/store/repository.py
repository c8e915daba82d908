"""The store: an Icechunk repository to write, and that or plain Zarr v3 to read.

A store is named by a local path or an s3://, gs:// or az:// URL. Its root carries the attribute
``terralatent``: what kind of store it is, its identity (what must be equal for a command to go on
with it) and the version of the code that made it.
"""

from __future__ import annotations

import atexit
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import icechunk
import obstore
import zarr
from zarr.storage import ObjectStore

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.command import command_line
from terralatent.pipeline.store.chunks import name_damaged_chunks
from terralatent.pipeline.store.damage import ADVICE, translated_errors
from terralatent.pipeline.store.digests import SUMS, changed_files, missing_files, read_sums, seal
from terralatent.pipeline.store.exit import wait_for_foreign_threads
from terralatent.pipeline.store.location import (
    Location,
    Place,
    locate,
    open_objects,
    open_storage,
    reach,
    translated_object_errors,
)
from terralatent.pipeline.store.settings import repository_settings

__all__ = ["ABOUT", "BRANCH", "COMMAND", "GROWING", "MEANWHILE", "STEP", "NotLaidOutError", "Store"]

ABOUT = "terralatent"
"""Attribute of the root group: ``{"kind", "identity", "code_version"}``."""

BRANCH = "main"
"""The branch of a store's repository that readers see."""

GROWING = "growing"
"""The branch on which a cube grows out of sight, see :mod:`terralatent.pipeline.ingest.growth`."""

COMMAND = "command"
"""Metadata of a commit: what ran, as somebody could type it again."""

STEP: Mapping[str, Any] = {"step": True}
"""Metadata of a commit that is no state of a cube of its own, but one on the way."""

MEANWHILE = (
    "Another run has committed to the store meanwhile; what this one had not committed is left "
    "out. Run the same command again."
)
"""Why nothing more is committed."""

# What is registered first is called last: after zarr has stopped its event loop.
atexit.register(wait_for_foreign_threads)


class NotLaidOutError(InputError, FileNotFoundError):
    """A repository was made and holds nothing: its maker was killed in between."""


@dataclass(frozen=True)
class Store:
    """A store by where it lies, which is parsed once; opened when it is first needed, and once.

    Small and picklable: what is open does not travel. Errors of the libraries below become
    :class:`InputError`, but for those of pixels, which are read later; see
    :func:`terralatent.pipeline.store.damage.translated_errors`.
    """

    name: str
    """As its user named it, for messages."""

    location: Location
    """Its absolute local path, or its place in an object store."""

    @classmethod
    def of(cls, store: str | Path | Store) -> Store:
        """Parse a local path or a URL; asks nothing yet. A store is itself.

        Raises:
            InputError: If the path is empty, or the URL leads nowhere.
        """
        return store if isinstance(store, Store) else cls(str(store), locate(store))

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.location)

    @property
    def path(self) -> Path | None:
        """Its absolute local path, None for a URL."""
        return self.location if isinstance(self.location, Path) else None

    @property
    def address(self) -> str:
        """Its absolute local path or its URL, by which another process finds it."""
        return str(self.path or self.name)

    @cached_property
    def is_plain(self) -> bool:
        """Whether it is plain Zarr v3, which is only read; at a URL by its ending, ``.zarr``."""
        if isinstance(self.location, Place):
            return self.location.path.endswith(".zarr")
        if (self.location / "zarr.json").is_file():
            return True
        listed = (self.location / SUMS).is_file()
        return listed and "zarr.json" in read_sums(self.location)  # and is damaged

    def exists(self) -> bool:
        """Whether there is an Icechunk repository or plain Zarr v3. Makes nothing."""
        if self.path is not None and not self.path.is_dir():
            return False
        if self.is_plain:
            return isinstance(self.location, Path) or _has_metadata(self.location)
        if "_repository" in vars(self):
            return True
        with translated_errors(self):
            return bool(icechunk.Repository.exists(open_storage(self.location)))

    def is_empty(self) -> bool:
        """Whether a repository was made but not laid out: its maker was killed in between."""
        if self.is_plain or not self.exists():
            return False
        try:
            self._group(None, BRANCH)
        except NotLaidOutError:
            return True
        return False

    def is_growing(self) -> bool:
        """Whether a cube has begun to grow, which readers do not see before it is whole."""
        repository = self.repository()
        begun = GROWING in repository.list_branches()
        return begun and repository.lookup_branch(GROWING) != repository.lookup_branch(BRANCH)

    def repository(self, *, anew: bool = False) -> icechunk.Repository:
        """The Icechunk repository that exists there, opened once.

        Args:
            anew: Open another one. One that stays open remembers, of every commit, where all
                chunks are.
        """
        return self._open() if anew else self._repository

    def snapshot(self) -> str:
        """The id of the newest commit, ``""`` for plain Zarr; reads no pixels."""
        with translated_errors(self):
            return "" if self.is_plain else str(self.repository().lookup_branch(BRANCH))

    def group(
        self, *, kind: str | None = None, snapshot: str | None = None, branch: str = BRANCH
    ) -> zarr.Group:
        """Open the root group for reading; reads no pixels.

        Args:
            kind: Refuse a store of another kind: ``cube``, ``latents`` or ``bands``.
            snapshot: Icechunk snapshot to read; the newest by default. Later commits never change
                what the group shows. Ignored for plain Zarr, which has no snapshots.
            branch: Of the repository, whose newest snapshot is read.

        Raises:
            InputError: If there is no store, if it is not of terralatent, of another kind or
                damaged, or if the snapshot is unknown. One that was never laid out is a
                :class:`NotLaidOutError`.
        """
        if not self.exists():
            raise InputError(f"{self}: there is no store here (neither Icechunk nor Zarr v3).")
        with translated_errors(self):
            group = self._group(snapshot, branch)
        about = group.attrs.get(ABOUT)
        if not isinstance(about, Mapping) or not isinstance(about.get("kind"), str):
            wanted = f"a {kind} store" if kind else "a cube, latents or decoded bands"
            raise InputError(f"{self} is not of terralatent; {wanted} is wanted here.")
        if kind not in (None, about["kind"]):
            raise InputError(f"{self} is a {about['kind']} store; a {kind} store is wanted here.")
        return group

    def commit(
        self, session: icechunk.Session, message: str, metadata: Mapping[str, Any] | None = None
    ) -> str:
        """Commit a session, with the command that runs, and write down the digests of its files.

        Returns:
            The new snapshot.

        Raises:
            icechunk.ConflictError: If somebody else committed meanwhile.
        """
        made = session.commit(message, metadata={COMMAND: command_line(), **(metadata or {})})
        seal(self.location)
        return str(made)

    def require_sound(self, snapshot: str | None = None) -> None:
        """Check the files of a snapshot that are read before its chunks, by their digests; once.

        Args:
            snapshot: The newest by default.

        Raises:
            InputError: If one is missing or was changed; it is named.
        """
        with translated_errors(self):
            repository = self.repository()
            snapshot = snapshot or repository.lookup_branch(BRANCH)
            if snapshot in self._sound:
                return
            manifests = repository.lookup_snapshot(snapshot).manifests
            self._require_unchanged(
                {f"snapshots/{snapshot}", *(f"manifests/{manifest.id}" for manifest in manifests)}
            )
        self._sound.add(snapshot)

    def about(self) -> dict[str, Any]:
        """What the root says of the store: ``kind``, ``identity``, ``code_version``; {} if nothing.
        Reads no pixels."""
        attrs: dict[str, Any] = self.group().attrs.asdict()
        return dict(attrs.get(ABOUT, {}))

    @cached_property
    def _repository(self) -> icechunk.Repository:
        return self._open()

    def _open(self) -> icechunk.Repository:
        name_damaged_chunks()
        return icechunk.Repository.open(
            open_storage(self.location), repository_settings(self.location)
        )

    def _group(self, snapshot: str | None, branch: str) -> zarr.Group:
        """Open the root group of a store that is there."""
        if self.is_plain:
            return self._plain_group()
        repository = self.repository()
        if snapshot is None:
            session = repository.readonly_session(branch)
        else:
            try:
                session = repository.readonly_session(snapshot_id=snapshot)
            except icechunk.IcechunkError as error:
                if snapshot == repository.lookup_branch(BRANCH):
                    raise
                raise InputError(f"{self} has no snapshot {snapshot}.") from error
        if self.path is not None:  # at a URL that costs more than opening: see `require_sound`
            self.require_sound(session.snapshot_id)
        try:
            return zarr.open_group(session.store, mode="r")
        except FileNotFoundError as error:
            repository.lookup_snapshot(session.snapshot_id)  # Zarr keeps silent: it is gone
            raise NotLaidOutError(
                f"{self} holds nothing yet: the command that made it was ended before it began. "
                "Run that one again."
            ) from error

    @cached_property
    def _sound(self) -> set[str]:
        """Snapshots whose files are as they were written."""
        return set()

    def _require_unchanged(self, paths: Collection[str] | None) -> None:
        for path, wrong in changed_files(self.location, paths):
            raise InputError(f"{self} is damaged: its file {path} {wrong}. {ADVICE}")

    def _plain_group(self) -> zarr.Group:
        place: Any = self.location
        if isinstance(place, Path):
            sums = read_sums(place)
            for path in missing_files(place, sums):  # which Zarr reads as fill
                raise InputError(f"{self} is damaged: its file {path} is missing. {ADVICE}")
            self._require_unchanged({path for path in sums if path.endswith(".json")})
        if isinstance(place, Place):
            reach(place)
            place = ObjectStore(open_objects(place, place.path), read_only=True)
        try:
            return zarr.open_group(place, mode="r")
        except FileNotFoundError:  # which is a ValueError too
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self} is no readable group of Zarr v3 ({error}).") from error


def _has_metadata(place: Place) -> bool:
    """Whether plain Zarr begins at a place in an object store."""
    with translated_object_errors(place):
        try:
            obstore.head(open_objects(place), f"{place.path}/zarr.json")
        except FileNotFoundError:
            return False
    return True
