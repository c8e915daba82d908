"""Squares of UTM zones: their published names, and that they cover the ground once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import Point, box

from terralatent.pipeline.fleet.squares import GRIDS, Zone, squares, zones
from terralatent.pipeline.region import grid

# Longitude, latitude, and the name of Sentinel-2's tile there, as catalogues and pages state it.
PUBLISHED = (
    (1.44, 43.60, "31TCJ"),  # Toulouse: cesbio.cnrs.fr, "The Sentinel-2 tiles, how they work"
    (2.60, 43.60, "31TDJ"),  # Castres, there too
    (-103.0047, 31.9621, "13SFR"),  # a square on two bands: gis.stackexchange.com/q/241614
    (4.35, 50.85, "31UES"),  # Brussels
    (13.40, 52.52, "33UUU"),  # Berlin: tiles.clearsky.vision/about/sentinel-2-tiles
    (151.21, -33.87, "56HLH"),  # Sydney
    (-58.40, -34.60, "21HUB"),  # Buenos Aires
    (28.05, -26.20, "35JPM"),  # Johannesburg
)


def name_at(longitude: float, latitude: float) -> str:
    """The square of 100 km that holds a place."""
    point = Point(longitude, latitude)
    side, name_of = GRIDS["mgrs"]
    found = [
        name_of(own) for own, area in squares(point.buffer(1e-6), side) if area.contains(point)
    ]
    (name,) = found
    return name


@pytest.mark.parametrize(("longitude", "latitude", "name"), PUBLISHED)
def test_squares_have_the_names_of_sentinel_2s_tiles(
    longitude: float, latitude: float, name: str
) -> None:
    assert name_at(longitude, latitude) == name


@pytest.mark.parametrize(
    ("longitude", "latitude", "number"),
    [(5.32, 60.39, 32), (2.0, 60.0, 31), (8.0, 78.0, 31), (10.0, 78.0, 33), (22.0, 78.0, 35)],
)
def test_zones_around_norway_and_svalbard_are_those_of_maps(
    longitude: float, latitude: float, number: int
) -> None:
    (zone, _), *more = zones(Point(longitude, latitude).buffer(0.01))
    assert (zone.number, more) == (number, [])


def test_zones_cover_the_earth_once() -> None:
    areas = [Zone(number, south).area for number in range(1, 61) for south in (False, True)]
    whole = shapely.union_all(areas)
    assert whole.equals(box(-180.0, -80.0, 180.0, 84.0))
    assert sum(area.area for area in areas) == pytest.approx(whole.area)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(
    "region",
    [
        box(5.2, 49.9, 6.8, 51.1),  # over the border of two zones
        box(11.6, 63.7, 12.4, 64.3),  # where one of them changes its width
        box(32.8, -0.4, 33.6, 0.5),  # over the equator
        box(177.5, -17.0, 180.0, -16.2),  # up to the 180th meridian
    ],
)
def test_squares_cover_a_region_without_gap_or_overlap(region: shapely.Polygon, name: str) -> None:
    side, name_of = GRIDS[name]
    found = list(squares(region, side))
    assert len({name_of(own) for own, _ in found}) == len(found)
    whole = shapely.union_all([area for _, area in found])
    assert region.difference(whole).area < 1e-9
    overlaps = (
        one.intersection(other).area for (_, one), (_, other) in itertools.combinations(found, 2)
    )
    assert max(overlaps) < 1e-9
    assert all(area.intersection(region).area > 0.0 for _, area in found)


@pytest.mark.parametrize("resolution", [10.0, 20.0, 2.5])
def test_cubes_of_whole_squares_meet_at_their_edges(resolution: float) -> None:
    found = {
        own.corner: grid(area, resolution, f"EPSG:{own.zone.epsg}").extent.boundingbox
        for own, area in squares(box(6.8, 59.6, 8.2, 60.2), 50_000)
    }
    assert len(found) >= 6
    for name, edges in found.items():
        left, bottom = 1000 * int(name[4:8]), 1000 * int(name[9:])
        assert edges.bbox == (left, bottom, left + 50_000, bottom + 50_000)


def test_a_square_is_where_its_name_says() -> None:
    (square, area), *_ = squares(box(4.3, 50.8, 4.31, 50.81), 50_000)
    to = Transformer.from_crs(4326, 32631, always_xy=True)
    x, y = to.transform(*np.asarray(area.exterior.coords).T)
    assert square.corner == "31N-0550-5600"
    assert (min(x), max(x)) == pytest.approx((550_000, 600_000), abs=0.01)
    assert (min(y), max(y)) == pytest.approx((5_600_000, 5_650_000), abs=0.01)
