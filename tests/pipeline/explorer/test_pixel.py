"""What a click gives, and what is learnt from polygons."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
from shapely.affinity import translate

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import classify, open_annual, open_bands, open_cube, open_latents
from terralatent.pipeline.explorer.drawn import COLUMN, frame_of, geojson_of, learn
from terralatent.pipeline.explorer.levels import open_levels
from terralatent.pipeline.explorer.pixel import PixelSeries
from terralatent.pipeline.explorer.similar import similar_layer
from terralatent.pipeline.store.repository import Store
from tests.made.latents import made_up_fields
from tests.made.opened import LEFT, TOP, Stores

X, Y = LEFT + 35.0, TOP - 35.0


def test_the_series_of_bands_is_that_of_the_accessor(stores: Stores) -> None:
    bands = open_bands(stores["bands"])
    cube = open_cube(stores["cube"], clear=False)
    pixel = PixelSeries(open_levels(Store.of(stores["bands"])), cube, None)
    assert pixel.choices()[0].startswith("sentinel-2-l2a ")
    series = pixel.of(X, Y, "sentinel-2-l2a B03")
    known = bands.terralatent.series(X, Y).sel(band="B03")

    assert series is not None
    assert series.observed is not None
    np.testing.assert_array_equal(series.mean, known["surface"])
    outer, inner = series.intervals
    np.testing.assert_array_equal(outer.high, known["q95"])
    np.testing.assert_allclose(inner.low, known["surface_q05"], rtol=1e-6)
    np.testing.assert_array_equal(series.observed.values, known["observed"])
    np.testing.assert_array_equal(series.observed.clear, known["clear"])


def test_latents_are_decoded_at_the_pixel_as_the_store_of_bands_was(stores: Stores) -> None:
    cube = open_cube(stores["cube"], clear=False)
    levels = open_levels(Store.of(stores["latents"]))
    series = PixelSeries(levels, cube, str(stores["model"])).of(X, Y, "sentinel-2-l2a B03")
    known = PixelSeries(open_levels(Store.of(stores["bands"])), cube, None).of(
        X, Y, "sentinel-2-l2a B03"
    )

    assert series is not None
    assert known is not None
    np.testing.assert_allclose(series.mean, known.mean, atol=2e-3)
    for own, other in zip(series.intervals, known.intervals, strict=True):
        np.testing.assert_allclose(own.high - own.low, other.high - other.low, rtol=0.05)


def test_outside_and_where_there_is_nothing_there_is_no_series(stores: Stores) -> None:
    pixel = PixelSeries(open_levels(Store.of(stores["latents"])), None, None)
    assert pixel.choices()[0] == "latent 0"
    assert pixel.of(LEFT - 5.0, Y, "latent 0") is None
    assert pixel.of(LEFT + 175.0, Y, "latent 0") is None  # the last column
    assert pixel.of(X, Y, "latent 0") is not None


def test_what_is_similar_is_what_the_accessor_finds(stores: Stores) -> None:
    for name, opener in (("latents", open_latents), ("annual", open_annual)):
        levels = open_levels(Store.of(stores[name]))
        layer = similar_layer(levels, X, Y)
        part = levels.part(levels.bounds, 600, layer.wanted, None)
        assert part is not None
        known = opener(stores[name]).terralatent.similar_to(X, Y).values.reshape(18, 18)
        np.testing.assert_allclose(layer.values(part.data), known, atol=1e-5)
    with pytest.raises(InputError, match="no values at this place"):
        similar_layer(levels, LEFT + 175.0, Y)


def test_polygons_are_mapped_as_classify_maps_them(tmp_path: Path) -> None:
    made = made_up_fields(tmp_path / "latents")
    some = made.frame.iloc[:12]
    corners = [np.array(shape.exterior.coords).T for shape in some.geometry]
    labels = frame_of(
        [xs for xs, _ in corners], [ys for _, ys in corners], list(some["crop"]), "EPSG:32631"
    )
    levels = open_levels(Store.of(made.latents))
    learnt = learn(levels, labels, levels.bounds)
    part = levels.part(levels.bounds, 600, learnt.layer.wanted, None)
    assert part is not None
    known = classify(open_latents(made.latents), some, "crop")
    np.testing.assert_array_equal(learnt.layer.values(part.data), known["class"].values)
    assert f"{known.attrs['accuracy']:.0%}" in learnt.score

    (tmp_path / "labels.geojson").write_text(geojson_of(labels))
    kept = geopandas.read_file(tmp_path / "labels.geojson")
    again = classify(open_latents(made.latents), kept, COLUMN)
    np.testing.assert_array_equal(again["class"].values, known["class"].values)


def test_polygons_that_teach_nothing_are_refused_or_left_out(tmp_path: Path) -> None:
    levels = open_levels(Store.of(made_up_fields(tmp_path / "latents").latents))
    bounds = levels.bounds
    xs = [
        [bounds.west, bounds.west + 50, bounds.west + 50],
        [bounds.west, bounds.west + 9],
        [0, 1, 1],
    ]
    ys = [[bounds.north, bounds.north, bounds.north - 50], [bounds.north] * 2, [0, 0, 1]]
    labels = frame_of(xs, ys, ["maize", "grass", ""], "EPSG:32631")
    assert list(labels[COLUMN]) == ["maize"]
    with pytest.raises(InputError, match="two classes at least"):
        learn(levels, labels, levels.bounds)
    labels.loc[1] = {COLUMN: "grass", "geometry": translate(labels.geometry[0], 100, -100)}
    assert "has one" in learn(levels, labels, levels.bounds).score
