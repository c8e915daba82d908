"""Whether a file lies where its item says: one that does not is not read."""

from __future__ import annotations

from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader

from terralatent.catalogs.item import ToldGrid

__all__ = ["PlacementError", "check_placement"]

SHIFT = 0.1
"""Pixels by which a corner may differ: catalogues round."""


class PlacementError(ValueError):
    """A file has another CRS, size or place than its item says."""


def check_placement(file: DatasetReader, told: ToldGrid) -> None:
    """Check an open file against what its item tells of its grid; what it does not tell may be.

    Raises:
        PlacementError: If they differ; it says what the file has and what the item.
    """
    if told.code is not None and file.crs != _crs(told.code):
        raise _differ("CRS", _name(file.crs), told.code)
    if told.shape is not None and (file.height, file.width) != told.shape:
        raise _differ("shape", f"{file.height} x {file.width}", "{} x {}".format(*told.shape))
    if file.transform.is_degenerate:
        raise PlacementError("its pixels have no size")
    if told.transform is not None:
        there = Affine(*told.transform)
        inverse = ~file.transform
        for corner in ((0, 0), (file.width, file.height)):
            column, row = inverse * (there * corner)
            if max(abs(column - corner[0]), abs(row - corner[1])) > SHIFT:
                raise _differ(
                    "transform", _numbers(tuple(file.transform)[:6]), _numbers(told.transform)
                )


def _differ(what: str, file: str, item: str) -> PlacementError:
    return PlacementError(f"its {what} is {file}, that of its item {item}: not read")


def _crs(code: str) -> CRS | None:
    try:
        return CRS.from_user_input(code)
    except CRSError:
        return None


def _name(crs: CRS | None) -> str:
    return "none" if crs is None else str(crs.to_string())


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.10g}" for value in values) + ")"
