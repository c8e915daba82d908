"""Fields on a tiny cube, and errors that their pixels share."""

from __future__ import annotations

import geopandas
import numpy as np
from shapely.geometry import box

from terralatent.pipeline.fields.shared_errors import SharedErrors
from tests.made.tiny import SENSORS

SIDE = 20
SENSOR = "sentinel-2-l2a"
BANDS = SENSORS[SENSOR][0]
DATES = "2017-09-03,2018-01-20,2018-05-01"
ALONE = SharedErrors({}, 0.0)
LEFT, TOP = 540_000.0, 5_680_000.0


def scene_errors(size: float, correlation: float = 0.0) -> SharedErrors:
    """Errors of Sentinel-2's acquisitions, alike in all bands but for a part."""
    covariance = size**2 * (0.7 + 0.3 * np.eye(BANDS))
    return SharedErrors({SENSOR: covariance}, correlation)


def squares(*edges: tuple[int, int, int, int]) -> geopandas.GeoDataFrame:
    """Polygons from rows and columns (top, left, bottom, right) of the grid."""
    shapes = [
        box(LEFT + 10 * left, TOP - 10 * bottom, LEFT + 10 * right, TOP - 10 * top)
        for top, left, bottom, right in edges
    ]
    return geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:32631")
