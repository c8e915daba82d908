"""A result of an earlier snapshot becomes one of the newest: what changed is made anew.

What a result is made from may have grown since: a cube by a search, latents by their cube. The
store is then laid out for the newest snapshot in one commit: dates that came are added, and blocks
are pending, but keep their values where these are found to be the same. Until they are done, the
result has blocks of both snapshots; its own snapshot of before that commit has those of before
alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import zarr

from terralatent.pipeline.cube.losses import PENDING
from terralatent.pipeline.mapping.growth.held import Held, hold
from terralatent.pipeline.mapping.results.origin import Origin
from terralatent.pipeline.store.arrays import Layout
from terralatent.pipeline.store.history import is_earlier
from terralatent.pipeline.store.multiscales import withdrawn
from terralatent.pipeline.store.repository import ABOUT, BRANCH, Store

__all__ = ["follow", "may_follow"]

DATES = "dates"
"""Entry of an identity whose values are along the time axis of the store."""


def follow(out: Store, layout: Layout, origin: Origin) -> bool:
    """Lay a result out for the newest snapshot of what it is made from, in one commit.

    Does nothing where the result is of that snapshot, is no result of it, or differs in anything
    that does not follow it. Call it inside the writer lock of ``out``.

    Args:
        out: The result.
        layout: As it is to be, see :attr:`Layout.follows`.
        origin: What it is made from.

    Returns:
        Whether it was of an earlier snapshot.
    """
    if not out.exists() or out.is_empty() or not may_follow(out, layout):
        return False
    about, identity = out.about(), json.loads(json.dumps(layout.identity))
    there: dict[str, Any] = about["identity"]
    before, dates = str(_entry(there, layout.follows[0].split("."))), there.get(DATES, [])
    if before == origin.snapshot or not is_earlier(origin.store, before, origin.snapshot):
        return False
    session = out.repository().writable_session(BRANCH)
    root = zarr.open_group(session.store, mode="r+")
    _lengthen(root, layout)
    changed = origin.changed_since(before, out)
    if changed is None:
        hold(root, Held(before, len(dates)))
    else:
        state: Any = root["state"]
        state[...] = np.where(changed, PENDING, np.asarray(state))
        root["clipped"][...] = np.where(changed, 0, np.asarray(root["clipped"]))
    root.update_attributes({**layout.groups[0].attrs, ABOUT: {**about, "identity": identity}})
    out.commit(session, f"follow {origin.kind} from {before} to {origin.snapshot}")
    return True


def may_follow(out: Store, layout: Layout) -> bool:
    """Whether a result that is there differs in nothing but what changes as its origin grows."""
    if out.is_plain or not layout.follows:
        return False
    about, identity = out.about(), json.loads(json.dumps(layout.identity))
    there: dict[str, Any] = about["identity"]
    paths = [path.split(".") for path in layout.follows]
    if about["kind"] != layout.kind or _without(there, paths) != _without(identity, paths):
        return False
    dates = there.get(DATES, [])  # a longer axis will do, another one will not
    return DATES not in layout.follows or identity[DATES][: len(dates)] == dates


def _lengthen(root: zarr.Group, layout: Layout) -> None:
    """Give arrays along time the length that they are to have, and the dates that came."""
    along = [array for array in layout.groups[0].arrays if array.dims[:1] == ("time",)]
    if not along:
        return
    count = along[0].shape[0]
    for _, stored in root.arrays():
        if (stored.metadata.dimension_names or ())[:1] == ("time",) and stored.shape[0] != count:
            stored.resize((count, *stored.shape[1:]))
            withdrawn(root)  # overviews lack these dates
    for array in along:
        if array.data is not None and array.name in root:
            root[array.name][...] = array.data


def _entry(identity: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = identity
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _without(identity: Mapping[str, Any], paths: Sequence[Sequence[str]]) -> dict[str, Any]:
    rest = deepcopy(dict(identity))
    for *above, name in paths:
        inner: Any = _entry(rest, above)
        if isinstance(inner, dict):
            inner.pop(name, None)
    return rest
