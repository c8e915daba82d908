"""Damaged chunks of pixels are taken out, so that the command that wrote them writes them again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zarr
from zarr.core.sync import sync

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.command import command_line
from terralatent.pipeline.cube.losses import HELD, PENDING
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.integrity import Damage
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.multiscales import OVERVIEWS, STATE, outdated
from terralatent.pipeline.store.repository import BRANCH, STEP, Store

__all__ = ["reopen"]


def reopen(store: str | Path | Store, damaged: Iterable[Damage]) -> tuple[Damage, ...]:
    """Delete damaged chunks of pixels and mark what wrote them as pending, in one commit.

    The same ``build``, ``embed`` or ``decode`` as before then writes them again, overviews too.
    What else is damaged stays as it is: no run makes coordinates or Icechunk's own files again.

    Args:
        store: A cube, latents or bands, an Icechunk store.
        damaged: What :func:`terralatent.pipeline.store.integrity.check_store` found.

    Returns:
        What was opened again.

    Raises:
        InputError: If another process writes the store, it cannot be written, or it is
            plain Zarr.
    """
    store = Store.of(store)
    if store.is_plain:
        raise InputError(f"{store} is plain Zarr, which is only read; export it again.")
    with writer_lock(store.location, command_line()), translated_errors(store):
        session = store.repository().writable_session(BRANCH)
        root = zarr.open_group(session.store, mode="r+")
        opened = tuple(damage for damage in damaged if _reopen(root, damage))
        if opened:
            # The last command stays the one that makes them again.
            store.commit(session, "open damaged chunks again", STEP)
    return opened


def _reopen(root: zarr.Group, damage: Damage) -> bool:
    if damage.array is None or damage.file is not None:
        return False
    array: Any = root[damage.array]
    group: Any = root[damage.array.rpartition("/")[0]] if "/" in damage.array else root
    of_overviews = damage.array.startswith(f"{OVERVIEWS}/") and STATE in root
    if not {"y", "x"} <= set(array.metadata.dimension_names or ()):
        return False
    if "state" not in group and not of_overviews:
        return False
    key = "/".join(("c", *map(str, damage.chunk)))
    sync(array.store.delete(f"{array.path}/{key}"))
    if of_overviews:  # of whichever square: they are soon made
        outdated(root)
        return True
    # A cube has states by time shard and block, latents and bands by block alone.
    blocks = damage.chunk[-2:]
    times = damage.chunk[:1] if group["state"].ndim == 3 else ()
    group["state"][(*times, *blocks)] = PENDING
    if HELD in group:
        group[HELD][(*times, *blocks)] = 0
    return True
