"""Where the file of an asset lies on the earth, by the words of its item."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from terralatent.catalogs.items.item import properties

__all__ = ["Placement", "PlacementError", "read_placement"]


class PlacementError(ValueError):
    """An item tells in another form than the projection extension's where its file lies."""


@dataclass(frozen=True)
class Placement:
    """What an item says of the grid of one file; None where it is silent."""

    crs: str | None = None
    """Such as ``EPSG:32631``."""

    transform: tuple[float, ...] | None = None
    """Six numbers: x is ``t[0] * column + t[1] * row + t[2]``, y the same with the other three."""

    shape: tuple[int, int] | None = None
    """Rows and columns."""

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """The corners of the file in its own CRS; none where shape or transform is not told."""
        if self.transform is None or self.shape is None:
            return ()
        a, b, c, d, e, f = self.transform
        rows, columns = self.shape
        return tuple(
            (a * column + b * row + c, d * column + e * row + f)
            for row in (0, rows)
            for column in (0, columns)
        )


def read_placement(item: Mapping[str, Any], asset: Mapping[str, Any]) -> Placement:
    """Read CRS, shape and transform of the projection extension, 1.0 to 2.0.

    The asset's own words count before those of its item, which may mean files of another
    resolution: of such the corners agree nevertheless.

    Raises:
        PlacementError: If one of them is there and has another form.
    """

    def told(name: str) -> Any:
        own = asset.get(name)
        return properties(item).get(name) if own is None else own

    code, epsg = told("proj:code"), told("proj:epsg")
    if code is None and epsg is not None:
        code = f"EPSG:{epsg}" if isinstance(epsg, int) else epsg
    if code is not None and not isinstance(code, str):
        raise PlacementError(f"its proj:code is {str(code)[:50]!r}, not text")
    transform = _numbers(told("proj:transform"), "proj:transform", (6, 9))
    shape = _numbers(told("proj:shape"), "proj:shape", (2,))
    if shape is not None and not all(side > 0 and side == int(side) for side in shape):
        raise PlacementError(f"its proj:shape is {list(shape)}, not rows and columns")
    return Placement(
        code,
        None if transform is None else transform[:6],
        None if shape is None else (int(shape[0]), int(shape[1])),
    )


def _numbers(value: object, name: str, lengths: tuple[int, ...]) -> tuple[float, ...] | None:
    if value is None:
        return None
    if isinstance(value, list | tuple) and len(value) in lengths:
        try:
            found = tuple(float(each) for each in value)
        except (TypeError, ValueError, OverflowError):
            found = ()
        if found and all(math.isfinite(each) for each in found):
            return found
    raise PlacementError(f"its {name} is {str(value)[:50]!r}, not {lengths[0]} finite numbers")
