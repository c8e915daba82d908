"""Squares on the UTM grids of the zones that a region touches, named by their places or by MGRS.

Every zone has a grid of its own, rotated against its neighbour's, so squares of two zones overlap
along the meridian between them, and where each belonged to the zone of its centre some ground there
would be in none. So a square is cut at the border of its zone: what is left of all squares covers
the ground once. Zones are those of the maps, wider and narrower around Norway and Svalbard.

References:
    | The Universal Grids and the Transverse Mercator and Polar Stereographic Map Projections
    | (NGA.SIG.0012, 2014), of zones, and of the letters of the Military Grid Reference System
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry import Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.antimeridian import unbroken

__all__ = ["GRIDS", "Square", "Zone", "polygons", "squares", "zone_of", "zones"]

SOUTH, NORTH = -80.0, 84.0
"""Degrees of latitude between which there are UTM zones."""

STEP = 0.1
"""Degrees between the points of an outline that is brought into a zone."""

PIECES = 100
"""Into how many pieces an edge of a square is cut: a straight line of a map is none in degrees."""

COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
"""Letters of 100 km from west to east, by the number of the zone modulo 3."""

ROWS = "ABCDEFGHJKLMNPQRSTUV"
"""Letters of 100 km from south to north, again and again; zones of even numbers begin at F."""

BANDS = "CDEFGHJKLMNPQRSTUVWX"
"""Letters of 8 degrees of latitude from 80 degrees south; the last has 12."""

NORWAY: dict[int, tuple[tuple[float, float, float, float], ...]] = {
    31: ((0.0, SOUTH, 6.0, 56.0), (0.0, 56.0, 3.0, 64.0), (0.0, 64.0, 6.0, 72.0),
         (0.0, 72.0, 9.0, NORTH)),
    32: ((6.0, SOUTH, 12.0, 56.0), (3.0, 56.0, 12.0, 64.0), (6.0, 64.0, 12.0, 72.0)),
    33: ((12.0, SOUTH, 18.0, 72.0), (9.0, 72.0, 21.0, NORTH)),
    34: ((18.0, SOUTH, 24.0, 72.0),),
    35: ((24.0, SOUTH, 30.0, 72.0), (21.0, 72.0, 33.0, NORTH)),
    36: ((30.0, SOUTH, 36.0, 72.0),),
    37: ((36.0, SOUTH, 42.0, 72.0), (33.0, 72.0, 42.0, NORTH)),
}  # fmt: skip
"""Zones that are no strips: west, south, east and north of their parts, in degrees."""


@dataclass(frozen=True)
class Zone:
    """A UTM zone on one side of the equator."""

    number: int
    """From 1 to 60."""

    south: bool
    """Whether it is that of the south."""

    @property
    def epsg(self) -> int:
        """Code of its CRS."""
        return (32700 if self.south else 32600) + self.number

    @property
    def area(self) -> BaseGeometry:
        """What it covers, in degrees."""
        west = 6.0 * self.number - 186.0
        parts = NORWAY.get(self.number, ((west, SOUTH, west + 6.0, NORTH),))
        side = box(-180.0, SOUTH, 180.0, 0.0) if self.south else box(-180.0, 0.0, 180.0, NORTH)
        return shapely.union_all([box(*part) for part in parts]).intersection(side)

    def project(self, outline: BaseGeometry) -> BaseGeometry:
        """Bring an outline in degrees into the zone's metres."""
        to = _transformer(4326, self.epsg)
        fine = shapely.segmentize(outline, STEP)
        return shapely.transform(
            fine, lambda points: np.column_stack(to.transform(points[:, 0], points[:, 1]))
        )

    def to_degrees(self, outline: BaseGeometry) -> BaseGeometry:
        """Bring an outline in the zone's metres into degrees, around the zone's middle."""
        to = _transformer(self.epsg, 4326)
        middle = 6.0 * self.number - 183.0

        def degrees(points: np.ndarray) -> np.ndarray:
            x, y = to.transform(points[:, 0], points[:, 1])
            return np.column_stack([middle + (x - middle + 180.0) % 360.0 - 180.0, y])

        return shapely.transform(outline, degrees)


@dataclass(frozen=True)
class Square:
    """A square of a zone's grid."""

    zone: Zone
    """Whose grid."""

    left: int
    """Easting of its left edge, in metres."""

    bottom: int
    """Northing of its lower edge, in metres."""

    side: int
    """In metres."""

    @property
    def mgrs(self) -> str:
        """Name of a square of 100 km, as Sentinel-2 calls its tiles.

        A square on the border of two bands of latitude has the letter of that in which its middle
        lies.

        >>> Square(Zone(31, False), 600_000, 5_600_000, 100_000).mgrs
        '31UFS'
        """
        number, km100 = self.zone.number, 100_000
        column = COLUMNS[number % 3][self.left // km100 - 1]
        row = ROWS[(self.bottom // km100 + (0 if number % 2 else 5)) % len(ROWS)]
        to = _transformer(self.zone.epsg, 4326)
        _, latitude = to.transform(self.left + self.side / 2, self.bottom + self.side / 2)
        band = BANDS[int(np.clip((latitude - SOUTH) // 8, 0, len(BANDS) - 1))]
        return f"{number:02d}{band}{column}{row}"

    @property
    def corner(self) -> str:
        """Its zone, and easting and northing of its lower left corner in kilometres.

        >>> Square(Zone(31, False), 550_000, 5_650_000, 50_000).corner
        '31N-0550-5650'
        """
        side = "S" if self.zone.south else "N"
        return f"{self.zone.number:02d}{side}-{self.left // 1000:04d}-{self.bottom // 1000:04d}"

    def area(self) -> BaseGeometry:
        """What of it lies in its zone, in degrees; empty where nothing does."""
        right, top = self.left + self.side, self.bottom + self.side
        ring = box(self.left, self.bottom, right, top)
        return polygons(
            self.zone.to_degrees(shapely.segmentize(ring, self.side / PIECES)).intersection(
                self.zone.area
            )
        )


GRIDS: dict[str, tuple[int, Callable[[Square], str]]] = {
    "mgrs": (100_000, lambda square: square.mgrs),
    "utm-50km": (50_000, lambda square: square.corner),
}
"""Sides of squares in metres, and what one is called."""


def zone_of(area: BaseGeometry) -> Zone | None:
    """The zone in which the middle of an area in degrees lies; None around the poles."""
    middle = unbroken(area).centroid
    point = Point((middle.x + 180.0) % 360.0 - 180.0, middle.y)
    first = int((point.x + 180.0) // 6.0) + 1
    for number in (first, first - 1, first + 1):
        zone = Zone((number - 1) % 60 + 1, point.y < 0.0)
        if zone.area.covers(point):
            return zone
    return None


def zones(region: BaseGeometry) -> Iterator[tuple[Zone, BaseGeometry]]:
    """The zones that a region in degrees touches, and what of it lies in each."""
    for number in range(1, 61):
        for south in (False, True):
            zone = Zone(number, south)
            part = polygons(region.intersection(zone.area))
            if not part.is_empty:
                yield zone, part


def squares(region: BaseGeometry, side: int) -> Iterator[tuple[Square, BaseGeometry]]:
    """The squares of a side, in metres, that a region touches, and what each covers in degrees.

    By zones, in each from north to south and from west to east.
    """
    for zone, part in zones(region):
        there = zone.project(part)
        shapely.prepare(there)
        left, bottom, right, top = (int(edge) for edge in np.round(there.bounds))
        for y in range(math.floor(top / side) * side, bottom - side, -side):
            for x in range(math.floor(left / side) * side, right + 1, side):
                if not there.intersects(box(x, y, x + side, y + side)):
                    continue
                square = Square(zone, x, y, side)
                area = square.area()
                if not area.is_empty and not polygons(area.intersection(part)).is_empty:
                    yield square, area


@lru_cache(maxsize=256)
def _transformer(source: int, target: int) -> Transformer:
    """Made once: it takes some hundredths of a second."""
    return Transformer.from_crs(source, target, always_xy=True)


def polygons(shape: BaseGeometry) -> BaseGeometry:
    """What of a shape has an area."""
    faces = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    faces = [face for face in faces if face.area > 0.0]
    return shapely.union_all(faces) if faces else Polygon()
