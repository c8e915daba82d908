"""What a store holds at its last commit, key by key: the same bytes in every run of a command.

Icechunk names its files at random, so stores are compared as the Zarr stores that they present.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import numpy as np
from zarr.core.buffer import default_buffer_prototype

from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.store.whereabouts import MADE_FROM, MODEL_FOLDER

SHARED = ("state", "clipped")
"""Arrays that the coordinator writes: in a store that is half done they are too."""


def contents(store: Path | str) -> dict[str, bytes]:
    """Every key of a store, metadata and chunks, with its bytes.

    Of the root's attributes those are left out that lead from where it lies to cube and model.
    """

    async def read() -> dict[str, bytes]:
        keys = [key async for key in stored.list()]
        values = [await stored.get(key, default_buffer_prototype()) for key in keys]
        return {k: v.to_bytes() for k, v in zip(keys, values, strict=True) if v is not None}

    stored = Store.of(store).repository().readonly_session("main").store
    found = asyncio.run(read())
    about = json.loads(found["zarr.json"])
    for name in (MADE_FROM, MODEL_FOLDER):
        about["attributes"].pop(name, None)
    return {**found, "zarr.json": json.dumps(about).encode()}


def same(first: dict[str, bytes], second: dict[str, bytes]) -> None:
    """Check that two stores hold the same bytes; names the keys that differ."""
    unlike = [key for key in first.keys() | second.keys() if first.get(key) != second.get(key)]
    assert not unlike, f"{len(unlike)} keys differ: {sorted(unlike)[:10]}"


def units_done(store: Path | str, whole: dict[str, bytes]) -> tuple[int, int]:
    """Check that a store says no more and no less than it holds; gives how much is done, of what.

    What the states call done has the bytes of the ``whole`` store, what they call pending is not
    there: it reads as the fill value.

    Args:
        store: A cube of one time shard, or latents or bands of any dates.
        whole: Contents of a store that was filled without anything happening.
    """
    held, root = contents(store), Store.of(store).group()
    groups = [group for _, group in root.groups() if "state" in group] or [root]
    done = every = 0
    for group in groups:
        state = np.asarray(group["state"])
        assert set(state.ravel().tolist()) <= {0, 1}
        done, every = done + int(state.sum()), every + state.size
        blocks = state.reshape(state.shape[-2:])
        prefix = f"{group.path}/" if group.path else ""
        own = re.compile(rf"{re.escape(prefix)}([^/]+)/(?:c/.*?(\d+)/(\d+)|zarr\.json)$")
        for key, wanted in whole.items():
            match = own.match(key)
            if match is None or match[1] in SHARED:
                continue
            pixels = match[2] is not None and "y" in _dims(group[match[1]])[:-1]
            if not pixels or blocks[int(match[2]), int(match[3])]:
                assert held.get(key) == wanted, f"{key} is not as it should be"
            else:
                assert key not in held, f"{key} is there and not said to be done"
    assert held.keys() <= whole.keys()
    return done, every


def _dims(array: object) -> tuple[str, ...]:
    return tuple(array.metadata.dimension_names or ())  # type: ignore[attr-defined]
