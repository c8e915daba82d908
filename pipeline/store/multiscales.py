"""Where a store of results keeps its overviews, and how its root names them or does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import zarr
import zarr_cm

__all__ = ["MULTISCALES", "OVERVIEWS", "STATE", "outdated", "withdrawn", "without_levels"]

OVERVIEWS = "overviews"
"""Group of the store whose children ``1``, ``2``, ... are levels, see
:mod:`terralatent.pipeline.overviews`."""

STATE = f"{OVERVIEWS}/state"
"""Array (array, unit_y, unit_x): of each task of each array, whether its levels are written."""

MULTISCALES = "multiscales"
"""Attribute of the root that names the levels, by the Zarr convention of that name; there is one
only while all of them are whole and true."""


def without_levels(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a root that names no levels."""
    if MULTISCALES not in attrs:
        return dict(attrs)
    kept: Mapping[str, Any] = zarr_cm.multiscales.extract(attrs)[0]
    return {name: kept[name] for name in attrs if name in kept}  # in their order: the same bytes


def withdrawn(root: zarr.Group) -> None:
    """Let the root name no levels; they stay where they are."""
    attrs = root.attrs.asdict()
    if MULTISCALES in attrs:
        root.attrs.put(without_levels(attrs))


def outdated(root: zarr.Group, units: tuple[slice, slice] = (slice(None), slice(None))) -> None:
    """Note that overviews of some squares of a store are to be made again, and show none till then.

    Args:
        root: Of the store, writable; it need not have overviews.
        units: Rows and columns of the squares among the tasks; all by default.
    """
    if STATE in root:
        withdrawn(root)
        state: Any = root[STATE]
        state[(slice(None), *units)] = 0  # pending
