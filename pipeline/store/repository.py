"""The store: an Icechunk repository to write, and that or plain Zarr v3 to read.

A store is named by a local path or an s3://, gs:// or az:// URL. Its root carries the attribute
``terralatent``: what kind of store it is, its identity (what must be equal for a command to go on
with it) and the version of the code that made it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import icechunk
import obstore
import zarr
from zarr.storage import ObjectStore

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.damage import telling_damage
from terralatent.pipeline.store.location import (
    Place,
    is_url,
    local_path,
    open_objects,
    open_storage,
    reach,
    settings,
    telling_objects,
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
"""The branch on which a cube grows out of sight, see :mod:`terralatent.pipeline.ingest.growing`."""

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


def open_group(
    store: str | Path,
    *,
    kind: str | None = None,
    snapshot: str | None = None,
    branch: str = BRANCH,
) -> zarr.Group:
    """Open a store's root group for reading; reads no pixels.

    Args:
        store: An Icechunk repository or plain Zarr v3, by path or URL.
        kind: Refuse a store of another kind: ``cube``, ``latents`` or ``bands``.
        snapshot: Icechunk snapshot to read; the newest by default. Later commits never change
            what the group shows. Ignored for plain Zarr, which has no snapshots.
        branch: Of the repository, whose newest snapshot is read.

    Raises:
        InputError: If there is no store, if it is of another kind or damaged, or the snapshot is
            unknown. One that was never laid out is a :class:`NotLaidOutError`.
    """
    if not exists(store):
        raise InputError(f"{store}: there is no store here (neither Icechunk nor Zarr v3).")
    with telling_damage(store):
        group = _open(store, snapshot, branch)
    found = group.attrs.get(ABOUT)
    if kind is not None and (not isinstance(found, Mapping) or found.get("kind") != kind):
        was = f"a {found['kind']} store" if isinstance(found, Mapping) else "not of terralatent"
        raise InputError(f"{store} is {was}; a {kind} store is wanted here.")
    return group


def snapshot_id(store: str | Path) -> str:
    """The id of the newest commit of a store, ``""`` for plain Zarr; reads no pixels."""
    with telling_damage(store):
        return "" if _is_plain(store) else str(open_repository(store).lookup_branch(BRANCH))


def describe(store: str | Path) -> dict[str, Any]:
    """What a store says of itself: ``kind``, ``identity``, ``code_version``; reads no pixels."""
    attrs: dict[str, Any] = open_group(store).attrs.asdict()
    return dict(attrs.get(ABOUT, {}))


def exists(store: str | Path) -> bool:
    """Whether there is an Icechunk repository or plain Zarr v3 at ``store``. Makes nothing."""
    path = local_path(store)
    if path is not None and not path.is_dir():
        return False
    if _is_plain(store):
        return path is not None or _has_metadata(Place.of(str(store)))
    with telling_damage(store):
        return bool(icechunk.Repository.exists(open_storage(store)))


def is_growing(store: str | Path) -> bool:
    """Whether a cube has begun to grow, which readers do not see before it is whole."""
    repository = open_repository(store)
    begun = GROWING in repository.list_branches()
    return begun and repository.lookup_branch(GROWING) != repository.lookup_branch(BRANCH)


def open_repository(store: str | Path) -> icechunk.Repository:
    """Open the Icechunk repository that exists at ``store``."""
    return icechunk.Repository.open(open_storage(store), settings() if is_url(store) else None)


def lay_out(store: str | Path, layout: Layout) -> bool:
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
    identity = json.loads(json.dumps(layout.identity))
    with telling_damage(store):
        if exists(store) and not _is_empty(store):
            require_same(store, layout.kind, identity)
            return False
        path = local_path(store)
        if path is not None and _holds_files(path) and not _is_empty(store):
            raise InputError(f"{path} exists and is no store; choose another --out, or remove it.")
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


def _make(store: str | Path, layout: Layout, identity: Mapping[str, Any]) -> None:
    """Make a store; a new local one aside, so that a kill leaves nothing, or all of it."""
    path, aside = local_path(store), None
    if path is not None and not path.exists():
        aside = path.with_name(f".{path.name}.new")
        shutil.rmtree(aside, ignore_errors=True)
    elif path is not None and not exists(store):
        # Icechunk makes a repository only where there is nothing, not even the begin of one.
        shutil.rmtree(path / "snapshots", ignore_errors=True)
    repository = icechunk.Repository.open_or_create(open_storage(aside or store))
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


def _open(store: str | Path, snapshot: str | None, branch: str = BRANCH) -> zarr.Group:
    """Open the root group of a store that is there."""
    if _is_plain(store):
        return _open_plain(store)
    repository = open_repository(store)
    if snapshot is None:
        session = repository.readonly_session(branch)
    else:
        try:
            session = repository.readonly_session(snapshot_id=snapshot)
        except icechunk.IcechunkError as error:
            if snapshot == repository.lookup_branch(BRANCH):
                raise
            raise InputError(f"{store} has no snapshot {snapshot}.") from error
    try:
        return zarr.open_group(session.store, mode="r")
    except FileNotFoundError as error:
        repository.lookup_snapshot(session.snapshot_id)  # what Zarr keeps silent about: it is gone
        raise NotLaidOutError(
            f"{store} holds nothing yet: the command that made it was ended before it began. "
            "Run that one again."
        ) from error


def _open_plain(store: str | Path) -> zarr.Group:
    path: Any = local_path(store)
    if path is None:
        place = Place.of(str(store))
        reach(str(store))
        path = ObjectStore(open_objects(place, place.path), read_only=True)
    try:
        return zarr.open_group(path, mode="r")
    except FileNotFoundError:  # which is a ValueError too
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{store} is no readable group of Zarr v3 ({error}).") from error


def _has_metadata(place: Place) -> bool:
    """Whether plain Zarr begins at a place in an object store."""
    with telling_objects(place):
        try:
            obstore.head(open_objects(place), f"{place.path}/zarr.json")
        except FileNotFoundError:
            return False
    return True


def _is_plain(store: str | Path) -> bool:
    path = local_path(store)
    if path is not None:
        return (path / "zarr.json").is_file()
    return is_url(store) and str(store).rstrip("/").endswith(".zarr")


def _is_empty(store: str | Path) -> bool:
    """Whether a repository was made but not laid out: its maker was killed in between."""
    if _is_plain(store) or not exists(store):
        return False
    try:
        _open(store, None)
    except NotLaidOutError:
        return True
    return False


def require_same(store: str | Path, kind: str, identity: Mapping[str, Any]) -> None:
    """Check that a command may go on with a store.

    Raises:
        InputError: If it is of another kind or identity, which is named by its difference, or if
            it is plain Zarr.
    """
    if _is_plain(store):
        raise InputError(f"{store} is plain Zarr, which is only read; choose another --out.")
    about = describe(store)
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


def _differences(there: Any, asked: Any, name: str = "") -> list[str]:
    """Say how two JSON values differ, one text for each leaf that does."""
    if isinstance(there, Mapping) and isinstance(asked, Mapping):
        keys = list(dict.fromkeys([*there, *asked]))
        return [
            text
            for key in keys
            for text in _differences(
                there.get(key), asked.get(key), f"{name}.{key}" if name else str(key)
            )
        ]
    if there == asked:
        return []
    was, wanted = _short(there), _short(asked)
    if was == wanted:  # long values that begin and end alike
        return [f"{name} is {was} there and here, but not the same between"]
    return [f"{name} is {was} there, {wanted} here"]


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 8:
        return f"{json.dumps(value[0])} to {json.dumps(value[-1])} ({len(value)} in all)"
    text = "absent" if value is None else json.dumps(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({len(text)} characters)"
