"""Where the file of an asset lies on the earth, according to its item."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.items.item import footprint, properties

__all__ = ["Georeference", "GeoreferenceError", "read_georeference"]


EPSG = range(1024, 1_000_000)
"""Numbers that EPSG gives to a CRS."""


class GeoreferenceError(ValueError):
    """An item states where its file lies in another form than the projection extension's."""


@dataclass(frozen=True)
class Georeference:
    """What an item states of the grid of one file; None where it is silent."""

    crs: str | None = None
    """Such as ``EPSG:32631``."""

    transform: tuple[float, ...] | None = None
    """Six numbers: x is ``t[0] * column + t[1] * row + t[2]``, y the same with the other three."""

    shape: tuple[int, int] | None = None
    """Rows and columns."""

    footprint: BaseGeometry | None = field(default=None, compare=False)
    """In degrees: where its item says on a map that its pixels lie."""

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """The corners of the file in its own CRS; none where shape or transform is unknown."""
        if self.transform is None or self.shape is None:
            return ()
        a, b, c, d, e, f = self.transform
        rows, columns = self.shape
        return tuple(
            (a * column + b * row + c, d * column + e * row + f)
            for row in (0, rows)
            for column in (0, columns)
        )


def read_georeference(item: Mapping[str, Any], asset: Mapping[str, Any]) -> Georeference:
    """Read CRS, shape and transform of the projection extension, 1.0 to 2.0.

    The asset's own fields count before those of its item, which may mean files of another
    resolution: of such the corners agree nevertheless.

    Raises:
        GeoreferenceError: If a field is there and has another form.
    """

    def stated(name: str) -> Any:
        own = asset.get(name)
        return properties(item).get(name) if own is None else own

    name = "proj:epsg" if stated("proj:code") is None else "proj:code"
    code = _crs(stated(name), name)
    transform = _numbers(stated("proj:transform"), "proj:transform", (6, 9))
    shape = _numbers(stated("proj:shape"), "proj:shape", (2,))
    if shape is not None and not all(side > 0 and side == int(side) for side in shape):
        raise GeoreferenceError(f"its proj:shape is {list(shape)}, not rows and columns")
    return Georeference(
        code,
        None if transform is None else transform[:6],
        None if shape is None else (int(shape[0]), int(shape[1])),
        footprint(item),
    )


def _crs(value: object, name: str) -> str | None:
    """A CRS as it is called; of a number, or of text that is one, that of EPSG."""
    if value is None:
        return None
    number = value.strip() if isinstance(value, str) else value
    if isinstance(number, str) and not number.isdecimal():
        return number
    try:
        code = None if isinstance(number, bool) else float(number)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        code = None
    if code is None or code not in EPSG:
        raise GeoreferenceError(f"its {name} is {str(value)[:50]!r}, not a CRS or its number")
    return f"EPSG:{int(code)}"


def _numbers(value: object, name: str, lengths: tuple[int, ...]) -> tuple[float, ...] | None:
    if value is None:
        return None
    if isinstance(value, list | tuple) and len(value) in lengths:
        try:
            numbers = tuple(float(number) for number in value)
        except (TypeError, ValueError, OverflowError):
            numbers = ()
        if numbers and all(math.isfinite(number) for number in numbers):
            return numbers
    raise GeoreferenceError(f"its {name} is {str(value)[:50]!r}, not {lengths[0]} finite numbers")
