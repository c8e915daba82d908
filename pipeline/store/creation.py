"""A store is made once, as a whole, and gone on with only as what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import icechunk
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.arrays import Layout
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.location import open_storage
from terralatent.pipeline.store.repository import ABOUT, BRANCH, Store

__all__ = ["differences", "lay_out", "require_same"]

FIRST_SNAPSHOT = "1CECHNKREP0F1RSTCMT0"
"""With which every repository of Icechunk begins."""


def lay_out(store: Store, layout: Layout) -> bool:
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
    with translated_errors(store):
        empty = store.is_empty()
        if store.exists() and not empty:
            require_same(store, layout.kind, _worded_alike(store, layout, identity))
            store.require_sound()
            return False
        if store.path is not None and not empty and _holds_files(store.path):
            raise InputError(
                f"{store.path} exists and is no store; choose another out=, or remove it."
            )
        _make(store, layout, identity)
    return True


def _worded_alike(store: Store, layout: Layout, identity: dict[str, Any]) -> dict[str, Any]:
    """The identity of a layout in the entries of the version that made a store."""
    if store.is_plain or layout.earlier is None:
        return identity
    there = store.about().get("identity", {})
    earlier: dict[str, Any] = json.loads(json.dumps(layout.earlier))
    return earlier if there.keys() == earlier.keys() else identity


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
    if path is None:
        _refuse_inside_store(store)
    if path is not None and not path.exists():
        aside = path.with_name(f".{path.name}.new")
        shutil.rmtree(aside, ignore_errors=True)
    elif path is not None and not store.exists():
        # Icechunk makes a repository only where there is nothing, not even the begin of one.
        shutil.rmtree(path / "snapshots", ignore_errors=True)
    made = replace(store, location=aside or store.location)
    # Without settings, which would be stored there: nobody else has stored any.
    repository = icechunk.Repository.open_or_create(open_storage(made.location))
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
    made.commit(session, f"lay out the {layout.kind}")
    if path is not None and aside is not None:
        aside.rename(path)


def _refuse_inside_store(store: Store) -> None:
    """Check that a new store's URL does not lie inside another store's; for paths see
    :mod:`terralatent.catalogs.enclosing_store`."""
    parts = store.address.split("/")
    for end in range(4, len(parts)):  # from s3://bucket/first on
        above = Store.of("/".join(parts[:end]))
        if above.exists():
            raise InputError(f"{store} lies inside the store {above}; choose another out=.")


def require_same(store: Store, kind: str, identity: Mapping[str, Any]) -> None:
    """Check that a command may go on with a store.

    Raises:
        InputError: If it is of another kind or identity, which is named by its difference, or if
            it is plain Zarr.
    """
    if store.is_plain:
        raise InputError(f"{store} is plain Zarr, which is only read; choose another out=.")
    about = store.about()
    if about["kind"] != kind:
        raise InputError(
            f"{store} is a {about['kind']} store, not a {kind} store; choose another out=."
        )
    unlike = differences(about["identity"], identity)
    if unlike:
        raise InputError(
            f"{store} exists and holds something else: {'; '.join(unlike)}. "
            "Choose another out=, or run with what it holds."
        )


def differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Say how two JSON values differ, one text for each leaf that does."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        keys = list(dict.fromkeys([*there, *here]))
        return [
            text
            for key in keys
            for text in differences(
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
