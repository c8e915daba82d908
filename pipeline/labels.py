"""Files of polygons or points, and frames of them on the grid of a cube."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.vector_files import read_vector_file

__all__ = ["class_names", "read_shapes", "shapes_on"]


def read_shapes(path: str | Path, what: str) -> geopandas.GeoDataFrame:
    """Read a file of polygons or points with their columns, in its own CRS.

    Args:
        path: GeoJSON, GeoParquet, GeoPackage, Shapefile or KML.
        what: Messages call it the file of these, such as ``fields``.

    Raises:
        InputError: If there is no such file, it cannot be read, or it has no geometries.
    """
    name = f"The file of {what} {str(path)!r}"
    if not Path(path).is_file():
        raise InputError(f"There is no file of {what} {str(path)!r}.")
    frame = read_vector_file(Path(path), name)
    if frame is None:
        raise InputError(f"{name} has no geometries.")
    return frame


def shapes_on(frame: geopandas.GeoDataFrame, grid: GeoBox, what: str) -> geopandas.GeoSeries:
    """Bring the geometries of a frame into the CRS of a grid; None where there is none.

    Args:
        frame: In any CRS.
        grid: Whose CRS is wanted.
        what: Messages call them so, in the plural.

    Raises:
        InputError: If the frame has no CRS, or a corner is no place in that of the grid.
    """
    if frame.crs is None:
        raise InputError(f"The {what} have no CRS; set it with `frame.set_crs(...)`.")
    shapes = frame.geometry.to_crs(str(grid.crs))
    for place, shape in zip(frame.index, shapes, strict=True):
        if shape is not None and not shape.is_empty and not np.isfinite(shape.bounds).all():
            raise InputError(
                f"The {what.removesuffix('s')} {place!r} has corners that are no place in "
                f"{grid.crs}; check its coordinates and that {frame.crs.name} is their CRS."
            )
    return shapes


def class_names(values: pd.Series) -> NDArray[Any]:
    """Values as the names of classes: whole numbers without a point, text without its margins.

    Empty where there is none, objects, (label,).
    """

    def text(value: Any) -> str:
        if isinstance(value, (float, np.floating)) and float(value).is_integer():
            value = int(value)
        return "" if pd.isna(value) else " ".join(str(value).split())

    return np.array([text(value) for value in values], dtype=object)
