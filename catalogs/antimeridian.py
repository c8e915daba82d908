"""Shapes over the 180th meridian, in all the ways in which catalogues and users write them.

RFC 7946 (3.1.9) cuts a shape there into two parts, and lets a box over it begin east of its end.
Others let longitudes run on beyond 180 or below -180, or leap from one side to the other, which
read as it stands is a belt around the globe. All are brought into the first form; a shape on
either side of it is one where the way across is the shorter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

__all__ = [
    "Bounds",
    "box_on_globe",
    "boxes",
    "crosses",
    "distance",
    "leaps",
    "on_globe",
    "unbroken",
]

Bounds = tuple[float, float, float, float]
"""West, south, east and north, in degrees."""

_FARTHEST = 360.0
"""Degrees; coordinates beyond are no longitudes."""

_HIGHEST = 90.0
"""Degrees of latitude; what reaches over more is the globe, and its wide edges are meant so."""


def on_globe(shape: BaseGeometry) -> BaseGeometry:
    """Bring a shape in degrees to longitudes from -180 to 180, cut in two where it crosses 180.

    An edge that :func:`leaps` crosses the meridian. A ring around a pole is closed over the pole.
    Coordinates that are no longitudes, and shapes that are not valid, are left for others to
    refuse.
    """
    if shape.geom_type not in ("Polygon", "MultiPolygon") or shape.is_empty:
        return shape
    west, _, east, _ = shape.bounds
    if west >= -180.0 and east <= min(180.0, west + 180.0):
        return shape  # almost all
    if not (west >= -_FARTHEST and east <= _FARTHEST):  # a NaN, too
        return shape
    parts = [_unrolled(part) for part in shapely.get_parts(shape)]
    whole = parts[0] if len(parts) == 1 else MultiPolygon(parts)
    west, _, east, _ = whole.bounds
    if west >= -180.0 and east <= 180.0:
        return shape if whole.equals_exact(shape, 0.0) else whole
    if not whole.is_valid or east - west > 360.0:
        return whole
    pieces = []
    for turn in range(int(np.floor((west + 180) / 360)), int(np.ceil((east + 180) / 360))):
        globe = box(360.0 * turn - 180, -1e3, 360.0 * turn + 180, 1e3)
        pieces.append(translate(whole.intersection(globe), -360.0 * turn))
    faces = [p for piece in pieces for p in shapely.get_parts(piece) if p.geom_type == "Polygon"]
    return shapely.union_all(faces)


def leaps(shape: BaseGeometry) -> bool:
    """Whether an edge spans more than half of the globe, but not all of it, in a shape that does
    not reach far north and south as well: no scene is so wide."""
    rings = shapely.get_parts(shapely.get_rings(shape))
    return any(bool(_leaps(shapely.get_coordinates(ring)).any()) for ring in rings)


def crosses(west: float, east: float) -> bool:
    """Whether a box that begins east of its end crosses the 180th meridian: the way over it is the
    shorter one. Else its edges were mixed up."""
    return west > east and (east - west) % 360.0 < 180.0


def box_on_globe(bounds: Bounds) -> BaseGeometry:
    """A box, cut in two where it crosses the 180th meridian.

    >>> box_on_globe((179.0, -17.0, -179.0, -16.0)).bounds
    (-180.0, -17.0, 180.0, -16.0)
    """
    west, south, east, north = bounds
    return on_globe(box(west, south, east + 360.0 if crosses(west, east) else east, north))


def unbroken(shape: BaseGeometry) -> BaseGeometry:
    """Put the parts of a shape side by side again: where the shortest way around all of them
    crosses the 180th meridian, those east of it have longitudes above 180."""
    parts = shapely.get_parts(shape)
    spans = sorted((part.bounds[0], part.bounds[2]) for part in parts)
    begin, east, widest = spans[0][0], spans[0][1], spans[0][0] + 360 - max(e for _, e in spans)
    for start, end in spans[1:]:
        if start - east > widest:
            begin, widest = start, start - east
        east = max(east, end)
    moved = [translate(part, 360.0) if part.bounds[0] < begin else part for part in parts]
    return shape if begin == spans[0][0] else shapely.union_all(moved)


def boxes(shape: BaseGeometry) -> tuple[Bounds, ...]:
    """The box around a shape; two, where it lies on both sides of the 180th meridian."""
    west, south, east, north = unbroken(shape).bounds
    if east <= 180.0:
        return ((west, south, east, north),)
    parts = shapely.get_parts(shape)
    sides = ([p for p in parts if p.bounds[0] >= west], [p for p in parts if p.bounds[0] < west])
    return tuple(_bounds(side) for side in sides)


def distance(one: BaseGeometry, other: BaseGeometry) -> float:
    """How far two shapes on the globe are apart, in degrees, the shorter way around."""
    turns = (translate(other, turn) for turn in (0.0, -360.0, 360.0))
    return min(float(one.distance(turned)) for turned in turns)


def _bounds(parts: Sequence[BaseGeometry]) -> Bounds:
    west, south, east, north = shapely.total_bounds(np.array(parts)).tolist()
    return west, south, east, north


def _unrolled(polygon: Polygon) -> Polygon:
    """A polygon whose longitudes run on where they leap from one side to the other."""
    shell = _unrolled_ring(shapely.get_coordinates(polygon.exterior))
    middle = (shell[:, 0].min() + shell[:, 0].max()) / 2.0
    holes = []
    for ring in polygon.interiors:
        hole = _unrolled_ring(shapely.get_coordinates(ring))
        centre = (hole[:, 0].min() + hole[:, 0].max()) / 2.0
        hole[:, 0] += 360.0 * np.round((middle - centre) / 360.0)
        holes.append(hole)
    return Polygon(shell, holes)


def _leaps(ring: np.ndarray) -> np.ndarray:
    """For each edge how many times around the globe its end is to be moved: -1, 0 or 1."""
    step = np.diff(ring[:, 0])
    if np.ptp(ring[:, 1]) > _HIGHEST:
        return np.zeros_like(step)
    wide = (np.abs(step) > 180.0) & (np.abs(step) < 360.0)
    return np.where(wide, -np.sign(step), 0.0)


def _unrolled_ring(ring: np.ndarray) -> np.ndarray:
    ring = ring.copy()
    ring[1:, 0] += 360.0 * np.cumsum(_leaps(ring))
    if ring[0, 0] != ring[-1, 0]:  # once around a pole
        pole = np.copysign(90.0, ring[:, 1].mean())
        ring = np.vstack([ring, [ring[-1, 0], pole], [ring[0, 0], pole], ring[0]])
    return ring
