"""The store: an Icechunk repository to write, and that or plain Zarr v3 to read.

A store is named by a local path or an s3://, gs:// or az:// URL. Its root carries the attribute
``terralatent``: what kind of store it is, its identity (what must be equal for a command to go on
with it) and the version of the code that made it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import icechunk
import obstore
import zarr
from zarr.storage import ObjectStore

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.location import (
    Location,
    Place,
    locate,
    open_objects,
    open_storage,
    reach,
    settings,
    translated_object_errors,
)

if TYPE_CHECKING:  # it brings xarray, which those who only read attributes do without
    from terralatent.pipeline.store.arrays import Layout

__all__ = [
    "ABOUT",
    "BRANCH",
    "GROWING",
    "MEANWHILE",
    "STEP",
    "NotLaidOutError",
    "Store",
    "describe",
    "exists",
    "is_growing",
    "lay_out",
    "open_group",
    "open_repository",
    "require_same",
    "snapshot_id",
]

ABOUT = "terralatent"
"""Attribute of the root group: ``{"kind", "identity", "code_version"}``."""

BRANCH = "main"
"""The branch of a store's repository that readers see."""

GROWING = "growing"
"""The branch on which a cube grows out of sight, see :mod:`terralatent.pipeline.ingest.growth`."""

STEP: Mapping[str, Any] = {"step": True}
"""Metadata of a commit that is no state of a cube of its own, but one on the way."""

MEANWHILE = (
    "Another run has committed to the store meanwhile; what this one had not committed is left "
    "out. Run the same command again."
)
"""Why nothing more is committed."""


FIRST_SNAPSHOT = "1CECHNKREP0F1RSTCMT0"
"""With which every repository of Icechunk begins."""


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
        return (self.location / "zarr.json").is_file()

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
            InputError: If there is no store, if it is of another kind or damaged, or the snapshot
                is unknown. One that was never laid out is a :class:`NotLaidOutError`.
        """
        if not self.exists():
            raise InputError(f"{self}: there is no store here (neither Icechunk nor Zarr v3).")
        with translated_errors(self):
            group = self._group(snapshot, branch)
        about = group.attrs.get(ABOUT)
        if kind is not None and (not isinstance(about, Mapping) or about.get("kind") != kind):
            was = f"a {about['kind']} store" if isinstance(about, Mapping) else "not of terralatent"
            raise InputError(f"{self} is {was}; a {kind} store is wanted here.")
        return group

    def about(self) -> dict[str, Any]:
        """What the root says of the store: ``kind``, ``identity``, ``code_version``; {} if nothing.
        Reads no pixels."""
        attrs: dict[str, Any] = self.group().attrs.asdict()
        return dict(attrs.get(ABOUT, {}))

    @cached_property
    def _repository(self) -> icechunk.Repository:
        return self._open()

    def _open(self) -> icechunk.Repository:
        config = settings() if isinstance(self.location, Place) else None
        return icechunk.Repository.open(open_storage(self.location), config)

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
        try:
            return zarr.open_group(session.store, mode="r")
        except FileNotFoundError as error:
            repository.lookup_snapshot(session.snapshot_id)  # Zarr keeps silent: it is gone
            raise NotLaidOutError(
                f"{self} holds nothing yet: the command that made it was ended before it began. "
                "Run that one again."
            ) from error

    def _plain_group(self) -> zarr.Group:
        place: Any = self.location
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


def lay_out(store: str | Path | Store, layout: Layout) -> bool:
    """Make every group and array of ``layout`` in one commit, or find them made before.

    Coordinates are written, all else is left at its fill value. Call it inside
    :func:`terralatent.pipeline.store.lock.writer.writer_lock`. Calling it again changes nothing.

    Returns:
        True if the store was made now, False if the same one was there.

    Raises:
        InputError: If something else is there: another kind, another identity (the difference is
            named), plain Zarr, or a folder with other files. Nothing of it is changed. Also if what
            is there is damaged, or nothing can be written there.
    """
    store = Store.of(store)
    identity = json.loads(json.dumps(layout.identity))
    with translated_errors(store):
        empty = store.is_empty()
        if store.exists() and not empty:
            require_same(store, layout.kind, identity)
            return False
        if store.path is not None and not empty and _holds_files(store.path):
            raise InputError(
                f"{store.path} exists and is no store; choose another --out, or remove it."
            )
        _make(store, layout, identity)
    return True


def _holds_files(path: Path) -> bool:
    """Whether there is anything in a folder but what Icechunk writes before its first branch.

    A disk that was full, or a kill, may leave such a folder; the next run fills it.
    """
    if not path.is_dir():
        return False
    return any(
        entry.name != "snapshots"
        or not entry.is_dir()
        or any(not file.name.startswith(FIRST_SNAPSHOT) for file in entry.iterdir())
        for entry in path.iterdir()
    )


def _make(store: Store, layout: Layout, identity: Mapping[str, Any]) -> None:
    """Make a store; a new local one aside, so that a kill leaves nothing, or all of it."""
    path, aside = store.path, None
    if path is not None and not path.exists():
        aside = path.with_name(f".{path.name}.new")
        shutil.rmtree(aside, ignore_errors=True)
    elif path is not None and not store.exists():
        # Icechunk makes a repository only where there is nothing, not even the begin of one.
        shutil.rmtree(path / "snapshots", ignore_errors=True)
    repository = icechunk.Repository.open_or_create(open_storage(aside or store.location))
    session = repository.writable_session(BRANCH)
    root = zarr.open_group(session.store, mode="a")
    about = {
        "kind": layout.kind,
        "identity": identity,
        "code_version": version("terralatent"),
    }
    for part in layout.groups:
        group = root.require_group(part.path) if part.path else root
        group.update_attributes(dict(part.attrs))
        for array in part.arrays:
            array.create(group)
    root.update_attributes({ABOUT: about})
    session.commit(f"lay out the {layout.kind}")
    if path is not None and aside is not None:
        aside.rename(path)


def require_same(store: str | Path | Store, kind: str, identity: Mapping[str, Any]) -> None:
    """Check that a command may go on with a store.

    Raises:
        InputError: If it is of another kind or identity, which is named by its difference, or if
            it is plain Zarr.
    """
    store = Store.of(store)
    if store.is_plain:
        raise InputError(f"{store} is plain Zarr, which is only read; choose another --out.")
    about = store.about()
    if about.get("kind") != kind:
        raise InputError(
            f"{store} is a {about.get('kind', 'foreign')} store, not a {kind} store; "
            "choose another --out."
        )
    unlike = _differences(about["identity"], identity)
    if unlike:
        raise InputError(
            f"{store} exists and holds something else: {'; '.join(unlike)}. "
            "Choose another --out, or run with what it holds."
        )


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Say how two JSON values differ, one text for each leaf that does."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        keys = list(dict.fromkeys([*there, *here]))
        return [
            text
            for key in keys
            for text in _differences(
                there.get(key), here.get(key), f"{name}.{key}" if name else str(key)
            )
        ]
    if there == here:
        return []
    was, wanted = _short(there), _short(here)
    if was == wanted:  # long values that begin and end alike
        return [f"{name} is {was} there and here, but not the same between"]
    return [f"{name} is {was} there, {wanted} here"]


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 8:
        return f"{json.dumps(value[0])} to {json.dumps(value[-1])} ({len(value)} in all)"
    text = "absent" if value is None else json.dumps(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"


def open_group(
    store: str | Path | Store,
    *,
    kind: str | None = None,
    snapshot: str | None = None,
    branch: str = BRANCH,
) -> zarr.Group:
    return Store.of(store).group(kind=kind, snapshot=snapshot, branch=branch)


def snapshot_id(store: str | Path | Store) -> str:
    return Store.of(store).snapshot()


def describe(store: str | Path | Store) -> dict[str, Any]:
    return Store.of(store).about()


def exists(store: str | Path | Store) -> bool:
    return Store.of(store).exists()


def is_growing(store: str | Path | Store) -> bool:
    return Store.of(store).is_growing()


def open_repository(store: str | Path | Store) -> icechunk.Repository:
    return Store.of(store).repository()
