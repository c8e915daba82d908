"""Few labels on cubes: nothing depends on the order of polygons, and none is learnt and tested."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from benchmarks.downstream.parcels.medians import RAW, Medians
from benchmarks.downstream.parcels.plan import BUDGETS, plan, row_of
from benchmarks.downstream.parcels.polygons import CLASS, FOLDS, Polygons, lay_polygons
from benchmarks.downstream.parcels.regions import MISSING, REMOVED, Region, thinned
from benchmarks.downstream.parcels.tables import Pool, PooledFigures, format_page
from benchmarks.downstream.rows import draw_labels, run_rows
from benchmarks.gapfill.cubes import rest_of
from terralatent.catalogs import search_scenes
from tests.made.catalogue import region as made_region

SIDE, ACROSS = 6, 8
CRS = "EPSG:32631"
GRID = GeoBox.from_bbox((0, 0, 10 * SIDE * ACROSS, 10 * SIDE * ACROSS), CRS, resolution=10)
CLASSES = ("forest", "grass", "maize", "wheat")


def fields() -> geopandas.GeoDataFrame:
    """Squares of 4 by 4 pixels, 16 of each class but one; one of another, and one too small."""
    draw = np.random.default_rng(0)
    squares = [
        box(10 * (SIDE * x + 1), 10 * (SIDE * y + 1), 10 * (SIDE * x + 5), 10 * (SIDE * y + 5))
        for y in range(ACROSS)
        for x in range(ACROSS)
    ]
    names = draw.permutation(np.repeat(CLASSES, len(squares) // len(CLASSES))).astype(object)
    names[0] = "orchard"
    squares.append(box(1, 1, 9, 9))
    return geopandas.GeoDataFrame({CLASS: [*names, "grass"]}, geometry=squares, crs=CRS)


@pytest.fixture(scope="module")
def polygons() -> Polygons:
    return lay_polygons(fields(), GRID, seed=0)


def medians(polygons: Polygons) -> Medians:
    """A band of two sensors that says the class in some months, of others nothing."""
    draw = np.random.default_rng(1)
    own = polygons.target[polygons.places[polygons.pixels]]
    values = np.exp(0.1 * draw.standard_normal((len(own), 12, 4)) - 2.0)
    values[:, 3:8, 0] *= 1.0 + 0.5 * own[:, None]
    values[..., 2:] = -12.0 + draw.standard_normal((len(own), 12, 2))
    values[draw.random((len(own), 12)) < 0.5, :2] = np.nan
    return Medians(values.astype(np.float32), np.array(2), np.array([2]))


def test_every_polygon_is_hidden_once_and_never_learnt_from_then(polygons: Polygons) -> None:
    assert polygons.classes == CLASSES
    assert polygons.left_out == ("orchard",)
    assert len(polygons.target) == ACROSS**2 - 1
    assert (np.bincount(polygons.places[polygons.pixels]) == 16).all()
    tested = np.concatenate([fold.test for fold in polygons.folds])
    assert sorted(tested) == list(polygons.cells)
    for fold in polygons.folds:
        assert not set(fold.training) & set(fold.test)
        for own in range(len(CLASSES)):
            hidden, all_of_it = ((polygons.target[p] == own).sum() for p in (fold.test, ...))
            assert hidden >= all_of_it // FOLDS


def test_draws_are_nested_and_those_of_training_polygons(polygons: Polygons) -> None:
    for fold in polygons.folds:
        for draw in range(3):
            few = [draw_labels(polygons, fold, labels, draw) for labels in BUDGETS]
            assert set(few[0]) <= set(few[1]) <= set(few[2]) <= set(fold.training)
            for labels, own in zip(BUDGETS, few, strict=True):
                assert (np.bincount(polygons.target[own]) == labels).all()


def test_all_sets_have_the_same_draws() -> None:
    sets = ("medians", "another")
    rows = list(plan(sets, 3, first=100))
    by_set = [[replace(row, features="") for row in rows if row.features == own] for own in sets]
    assert by_set[0] == by_set[1]
    assert len(rows) == 2 * 3 * len(BUDGETS) * len(MISSING)


def test_the_order_of_polygons_changes_nothing(polygons: Polygons) -> None:
    moved = lay_polygons(fields().sample(frac=1.0, random_state=3), GRID, seed=0)
    np.testing.assert_array_equal(moved.places, polygons.places)
    np.testing.assert_array_equal(moved.target, polygons.target)
    for own, other in zip(moved.folds, polygons.folds, strict=True):
        np.testing.assert_array_equal(own.test, other.test)
        np.testing.assert_array_equal(own.training, other.training)


def test_means_are_those_of_the_pixels_of_a_polygon(polygons: Polygons) -> None:
    draw = np.random.default_rng(2)
    image = draw.normal(size=(*GRID.shape, 3))
    found = polygons.means(image[polygons.pixels])
    for place in (0, 7, len(found) - 1):
        np.testing.assert_allclose(found[place], image[polygons.places == place].mean(axis=0))


def test_few_polygons_are_refused_with_their_number() -> None:
    with pytest.raises(ValueError, match="5 polygons have 1 classes of 3 polygons"):
        lay_polygons(pd.concat([fields()[fields()[CLASS] == "maize"][:4], fields()[:1]]), GRID,
                     seed=0)  # fmt: skip


@pytest.mark.parametrize("name", RAW)
def test_features_of_medians_are_finite_and_know_no_label(polygons: Polygons, name: str) -> None:
    own = medians(polygons)
    found = RAW[name](own)
    assert len(found) == len(polygons.pixels[0])
    assert np.isfinite(found).all()
    same = RAW[name](Medians(own.values[::-1], own.optical, own.parts))[::-1]
    # Means over pixels are summed in another order, and axes may point the other way.
    np.testing.assert_allclose(np.abs(same), np.abs(found), atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_as_many_acquisitions_of_each_sensor_are_removed_as_stated(
    catalogue: Path, seed: int
) -> None:
    scenes = search_scenes(catalogue, made_region(), "2018-01-01", "2018-12-31")
    more = []
    for day in range(1, 29):
        for item in scenes.items[:1] + scenes.items[-1:]:
            copy = deepcopy(item)
            copy["id"] += f"_{day}"
            copy["properties"]["datetime"] = f"2018-07-{day:02d}T11:00:00Z"
            more.append(copy)
    scenes = rest_of(scenes, [*scenes.items, *more])
    left = thinned(scenes, seed)
    assert left.sensors == scenes.sensors
    for name, all_of_it in scenes.by_sensor.items():
        kept = left.by_sensor[name]
        assert len(kept) == len(all_of_it) - round(REMOVED * len(all_of_it))
        assert {own.time for own in kept} <= {own.time for own in all_of_it}
    assert thinned(scenes, seed).digest == left.digest
    assert thinned(scenes, seed + 1).digest != left.digest


def test_regions_are_pooled_by_the_names_of_their_classes(
    polygons: Polygons, tmp_path: Path
) -> None:
    """A region without one of the classes, and one with all: every polygon counts as itself."""
    frame = fields()
    fewer = lay_polygons(frame[frame[CLASS] != "grass"], GRID, seed=1)
    regions = {
        Region(name, tmp_path / name, tmp_path, 2018, 0, None): own
        for name, own in (("one", polygons), ("other", fewer))
    }
    pool = Pool.of(list(regions.values()))
    names = [np.array(own.classes)[own.target] for own in regions.values()]
    assert np.array(pool.classes)[pool.target].tolist() == np.concatenate(names).tolist()
    assert np.bincount(pool.strata).tolist() == [len(polygons.target), len(fewer.target)]

    row = row_of("medians", "none", 5)
    for region, own in regions.items():
        features = own.means(RAW["medians"](medians(own)))
        run_rows([row], own, lambda row, fold, made=features: made, region.work)
    figures = PooledFigures(regions, 1)
    scores = figures.scores(row)
    right = [
        (result.predicted == own.target).sum()
        for region, own in regions.items()
        if (result := PooledFigures({region: own}, 1).results(row)[0])
    ]
    assert scores is not None
    assert scores.overall == pytest.approx(sum(right) / len(pool.target))
    assert scores.overall > 0.6
    assert f"{scores.overall:.3f}".removeprefix("0") in format_page(regions, 1, simulated=True)
