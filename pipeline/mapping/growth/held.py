"""What blocks of a result hold while it is brought up to date: values of an earlier snapshot.

The array ``held`` has a number for each block, and window, of a result: 0, or of the snapshot of
which its values are whole, counted from 1 in the attribute ``held_from`` of the root. Such a block
is pending, and is left as it is where nothing changed since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from terralatent.pipeline.cube.losses import HELD, PENDING
from terralatent.pipeline.store.arrays import ArrayLayout

__all__ = ["Held", "held_at", "hold", "let_go", "snapshots_held"]

HELD_FROM = "held_from"

MOST = 255
"""Snapshots that ``held`` can count; with more of them at a time nothing is held."""


@dataclass(frozen=True)
class Held:
    """What a block holds."""

    snapshot: str
    """Of what the result is made from."""

    dates: int
    """Dates of the result for which it has values, the first ones."""


def hold(root: zarr.Group, held: Held, windows: Any = slice(None)) -> None:
    """Make blocks pending that are done, and note of which snapshot their values are.

    Args:
        root: Of the result, writable.
        held: What is done is of this snapshot.
        windows: Which entries along the first axis, of a result whose states have one.
    """
    state: Any = root["state"]
    states = np.asarray(state)
    if HELD not in root:
        shape, dims = states.shape, state.metadata.dimension_names
        about = {"long_name": f"number in the attribute {HELD_FROM}; 0: no values to be kept"}
        ArrayLayout(HELD, dims, shape, "uint8", shape, fill_value=0, attrs=about).create(root)
    array: Any = root[HELD]
    array.resize(states.shape)
    numbers = np.asarray(array)
    known: list[Any] = list(root.attrs.get(HELD_FROM, ())) if numbers.any() else []
    entry = [held.snapshot, held.dates]
    if entry not in known:
        known.append(entry)
    chosen = np.zeros(states.shape, bool)
    chosen[windows] = states[windows] != PENDING
    numbers[chosen] = known.index(entry) + 1 if len(known) <= MOST else 0
    states[chosen] = PENDING
    array[...], state[...] = numbers, states
    root.attrs[HELD_FROM] = known


def held_at(root: Any, index: tuple[int, int]) -> list[Held | None]:
    """What a block holds, for each window of a result that has some; one entry if it has none."""
    if HELD not in root:
        return [None]
    known: Any = root.attrs[HELD_FROM]
    numbers = np.asarray(root[HELD][(..., *index)]).ravel()
    return [Held(*known[number - 1]) if number else None for number in numbers]


def let_go(root: Any, index: tuple[int, int]) -> None:
    """Note that a block is of the newest snapshot in all its windows."""
    if HELD in root:
        root[HELD][(..., *index)] = 0


def snapshots_held(root: Any) -> set[str]:
    """Those of which some block has values that may be kept."""
    if HELD not in root:
        return set()
    known: Any = root.attrs[HELD_FROM]
    return {known[number - 1][0] for number in np.unique(np.asarray(root[HELD])) if number}
