"""The levels of a store for reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import zarr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.overviews.layout import level_path
from terralatent.pipeline.overviews.seasonal import SEASONAL
from terralatent.pipeline.store.multiscales import MULTISCALES, OVERVIEWS
from terralatent.pipeline.store.repository import Store

__all__ = ["Budget", "kept_order", "level_for", "level_group", "level_shapes"]

LEAST_BYTES, MOST_BYTES = 1_000_000, 4_500_000
"""That a picture reads of a store: one for each pixel of its grid, but no fewer and no more than
these. They are those of what is stored, before it is compressed."""


@dataclass(frozen=True)
class Budget:
    """What a picture is made of, by which its level is chosen."""

    bytes: int
    """That it reads for each pixel of the level it is drawn from, of all its panels together."""

    pixels: int
    """Along the longer side of a panel, as it is drawn."""


def level_shapes(root: zarr.Group) -> dict[int, tuple[int, int]]:
    """Rows and columns of each level that may be read; of level 0 alone where there are no
    overviews, or they are not whole. Reads no pixels."""
    attrs: dict[str, Any] = root.attrs.asdict()
    shapes = {0: (int(root["y"].shape[0]), int(root["x"].shape[0]))}
    for entry in attrs.get(MULTISCALES, {}).get("layout", ()):
        group, _, level = str(entry["asset"]).partition("/")
        if group == OVERVIEWS and level.isdecimal():
            rows, columns = entry["spatial:shape"]
            shapes[int(level)] = (int(rows), int(columns))
    return shapes


def level_group(root: zarr.Group, level: int, store: Store) -> zarr.Group:
    """The group of a level of a store, the root itself for 0. Reads no pixels.

    Raises:
        InputError: If there is no such level.
    """
    if level == 0:
        return root
    levels = [own for own in level_shapes(root) if own]
    if level in levels:
        return root[level_path(level)]
    if not levels:
        raise InputError(
            f"{store} has no overviews, or blocks were written since they were made; "
            f"`terralatent overviews {store}` makes them."
        )
    raise InputError(f"{store} has no level {level}; it has 0 to {max(levels)}.")


def level_for(root: zarr.Group, budget: Budget) -> int:
    """The level that a picture is drawn from: the finest that its panels have room for, and that
    does not take more than :data:`LEAST_BYTES` to :data:`MOST_BYTES`; the coarsest where all do."""
    shapes = level_shapes(root)
    rows, columns = shapes[0]
    most = min(max(rows * columns, LEAST_BYTES), MOST_BYTES)
    for level, (high, wide) in sorted(shapes.items())[1:]:
        if max(high, wide) < 2 * budget.pixels and high * wide * budget.bytes <= most:
            return level
    return max(shapes)


def kept_order(root: zarr.Group) -> list[int] | None:
    """The places of latents by season, as overviews keep them; None where there are none."""
    if OVERVIEWS not in root:
        return None
    kept = root[OVERVIEWS].attrs.asdict().get(SEASONAL)
    return None if kept is None else [int(place) for place in kept]
