"""One pixel, pixels like it, clusters, samples and predictions: laws against plain numpy."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import xarray as xr
from pyproj import Transformer
from shapely.geometry import Point
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import (
    open_annual,
    open_bands,
    open_cube,
    open_landcover,
    open_latents,
    predict,
    samples,
)
from terralatent.pipeline.landcover.features import find_features
from terralatent.pipeline.probes.labels import LabelColumns, read_labels
from terralatent.pipeline.probes.sample import read_sample
from tests.made.opened import LEFT, SIDE, TOP, Stores, labels_of_squares

OPTICAL = "sentinel-2-l2a"
ROW, COLUMN = 5, 7
X, Y = LEFT + 10.0 * COLUMN + 3.0, TOP - 10.0 * ROW - 8.0
OTHER_CHUNKS = {"time": 1, "y": 5, "x": 7}


@pytest.fixture(scope="module")
def latents(stores: Stores) -> xr.Dataset:
    return open_latents(stores["latents"])


@pytest.fixture(scope="module")
def vectors(stores: Stores) -> xr.Dataset:
    return open_annual(stores["annual"])


def features_by_hand(data: xr.Dataset) -> np.ndarray:
    """(y, x, feature), dates outside."""
    return np.moveaxis(data["mean"].values.reshape(-1, SIDE, SIDE), 0, -1)


# One pixel.


def test_a_series_is_the_pixel_that_holds_the_place(stores: Stores, latents: xr.Dataset) -> None:
    pixel = latents.terralatent.series(X, Y)
    np.testing.assert_array_equal(pixel["mean"], latents["mean"].values[..., ROW, COLUMN])
    lon, lat = Transformer.from_crs(32631, 4326, always_xy=True).transform(X, Y)
    assert latents.terralatent.series(lon, lat, crs=4326).identical(pixel)
    some = latents.isel(y=slice(2, 9), x=slice(4, 12)).terralatent.series(X, Y)
    np.testing.assert_array_equal(some["mean"], pixel["mean"])

    sensor = open_cube(stores["cube"])[OPTICAL]
    seen = sensor.terralatent.series(X, Y)
    np.testing.assert_array_equal(seen["clear"], sensor["clear"].values[:, ROW, COLUMN])
    np.testing.assert_array_equal(seen["data"], sensor["data"].values[..., ROW, COLUMN])


def test_a_series_of_bands_has_what_was_seen_of_the_pixel(stores: Stores) -> None:
    bands = open_bands(stores["bands"])
    pixel = bands.terralatent.series(X, Y)
    seen = open_cube(stores["cube"], clear=False)[OPTICAL].isel(y=ROW, x=COLUMN)
    np.testing.assert_array_equal(pixel["observed"], seen["data"])
    np.testing.assert_array_equal(pixel["clear"], seen["clear"])
    np.testing.assert_array_equal(pixel["acquisition"], seen["time"])
    mean, std = (bands[name].values[..., ROW, COLUMN] for name in ("mean", "std_signal"))
    np.testing.assert_array_equal(pixel["surface"], mean)
    np.testing.assert_allclose(pixel["surface_q95"] - mean, 1.645 * std, rtol=1e-3)
    one = bands.sel(band="B03").terralatent.series(X, Y, cube=stores["cube"])
    np.testing.assert_array_equal(one["observed"], seen["data"].sel(band="B03"))


def test_without_its_cube_a_series_of_bands_is_what_was_decoded(
    stores: Stores, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(stores["bands"], tmp_path / "bands")
    bands = open_bands(tmp_path / "bands")
    with caplog.at_level(logging.WARNING, "terralatent"):
        alone = bands.terralatent.series(X, Y)
    assert "is not there, so observations are left out; give it as cube=" in caplog.text
    assert "observed" not in alone
    given = bands.terralatent.series(X, Y, cube=stores["cube"])
    whole = open_bands(stores["bands"]).terralatent.series(X, Y)
    np.testing.assert_array_equal(given["observed"], whole["observed"])


# Pixels like a place.


def test_cosine_and_distance_are_as_their_formulas_say(vectors: xr.Dataset) -> None:
    mean, std = vectors["mean"].values[0], vectors["std"].values[0]
    own, error = mean[:, ROW, COLUMN], std[:, ROW, COLUMN] ** 2
    length = np.linalg.norm(mean, axis=0) * np.linalg.norm(own)
    by_angle = vectors.terralatent.similar_to(X, Y)
    np.testing.assert_allclose(by_angle[0], np.einsum("kyx,k->yx", mean, own) / length, atol=1e-5)
    assert abs(float(by_angle[0, ROW, COLUMN]) - 1.0) < 1e-6
    away = vectors.terralatent.similar_to(X, Y, by="distance")
    square = (mean - own[:, None, None]) ** 2 / (std**2 + error[:, None, None])
    np.testing.assert_allclose(away[0], np.sqrt(square.mean(axis=0)), rtol=1e-4)
    assert np.isnan(by_angle[0, :, -1]).all()
    assert by_angle.chunks is not None


def test_the_distance_is_about_one_where_only_errors_differ() -> None:
    random = np.random.default_rng(0)
    std = random.uniform(0.1, 2.0, (64, 40, 40))
    vectors = xr.Dataset(
        {"mean": (("component", "y", "x"), std * random.normal(size=std.shape)),
         "std": (("component", "y", "x"), std)},
        coords={"component": np.arange(64), "y": np.arange(40.0)[::-1], "x": np.arange(40.0)},
    ).rio.write_crs(32631)  # fmt: skip
    away = vectors.terralatent.similar_to(20.0, 20.0, by="distance").values
    assert abs(np.median(away) - 1.0) < 0.1


def test_several_points_and_polygons_count_as_their_mean(latents: xr.Dataset) -> None:
    flat = features_by_hand(latents)
    square = labels_of_squares().iloc[[0]]
    mean = flat[:6, :6].reshape(-1, 12).mean(axis=0)
    wanted = flat @ mean / (np.linalg.norm(flat, axis=-1) * np.linalg.norm(mean))
    for shapes in (square, square.geometry, square.geometry.iloc[0]):
        np.testing.assert_allclose(latents.terralatent.similar_to(shapes), wanted, atol=1e-5)
    xs, ys = np.meshgrid(latents["x"].values[:6], latents["y"].values[:6])
    found = latents.terralatent.similar_to(xs.ravel(), ys.ravel())
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    point = geopandas.GeoSeries([Point(X, Y)], crs=32631).to_crs(4326)
    np.testing.assert_array_equal(
        latents.terralatent.similar_to(point), latents.terralatent.similar_to(X, Y)
    )


# Clusters.


def test_clusters_are_those_of_the_nearest_centre_whatever_the_chunks(latents: xr.Dataset) -> None:
    labels = latents.terralatent.cluster(4, seed=3)
    assert labels.chunks is not None
    assert labels.rio.crs == latents.rio.crs
    for other in (
        latents.chunk(OTHER_CHUNKS).terralatent.cluster(4, seed=3),
        latents.compute().terralatent.cluster(4, seed=3),
    ):
        np.testing.assert_array_equal(labels.values, other.values)
    values, flat = labels.values, features_by_hand(latents)
    assert (values[:, -1] == 0).all()
    counts = np.bincount(values.ravel(), minlength=5)[1:]
    assert (np.diff(counts) <= 0).all()  # the largest first; all pixels were fitted
    # A pixel is nearer to the mean of its cluster than to that of another, but for few.
    centres = np.stack([flat[values == n].mean(axis=0) for n in range(1, 5)])
    nearest = np.linalg.norm(flat[..., None, :] - centres, axis=-1).argmin(axis=-1) + 1
    assert (nearest == values)[values > 0].mean() > 0.9


def test_clusters_of_a_part_are_those_of_the_whole_where_it_was_fitted(stores: Stores) -> None:
    bands = open_bands(stores["bands"])
    part = {"y": slice(3, 9), "x": slice(2, 8)}
    assert bands.terralatent.cluster(3).isel(part).equals(bands.terralatent.cluster(3)[3:9, 2:8])


# Samples.


def test_samples_of_a_store_of_what_is_opened_and_of_classify_are_the_same(
    stores: Stores, latents: xr.Dataset
) -> None:
    frame = labels_of_squares()
    labels = read_labels(frame, LabelColumns("crop", "farm"), latents.odc.geobox)
    known = read_sample(find_features(stores["latents"], None, True), labels, lambda own: own)
    for source in (stores["latents"], latents, latents.chunk(OTHER_CHUNKS)):
        inputs, y, groups = samples(source, frame, "crop", group="farm", with_std=True)
        np.testing.assert_array_equal(inputs, known.features)
        assert y.tolist() == known.target.tolist()
        assert len(set(groups)) == 2
    vectors = samples(stores["annual"], stores["labels.geojson"], "crop", with_std=True)
    again = find_features(stores["annual"], None, True).at(labels.rows, labels.columns)
    np.testing.assert_allclose(vectors[0], again, atol=1e-6)
    parts = GroupKFold(2).split(inputs, y, groups)
    assert all(not set(groups[train]) & set(groups[test]) for train, test in parts)


def test_samples_follow_a_selection(latents: xr.Dataset) -> None:
    frame = labels_of_squares()
    inputs, _, groups = samples(latents, frame, "crop")
    some = latents.isel(time=[0, 2], latent=[1, 3], x=slice(0, 7))
    part, _, _ = samples(some, frame, "crop")
    west = np.isin(groups, [0, 2])
    kept = inputs[west].reshape(-1, 3, 4)[:, [0, 2]][:, :, [1, 3]].reshape(int(west.sum()), -1)
    np.testing.assert_array_equal(part, kept)


def test_random_pixels_lie_inside_the_scenes(latents: xr.Dataset) -> None:
    frame = latents.terralatent.sample(100, seed=1)
    assert frame.equals(latents.chunk(OTHER_CHUNKS).terralatent.sample(100, seed=1))
    assert not frame.isna().any(axis=None)
    assert not frame.duplicated(["x", "y"]).any()
    rows, columns = ((TOP - 5 - frame.y) / 10).astype(int), ((frame.x - LEFT - 5) / 10).astype(int)
    np.testing.assert_array_equal(frame.iloc[:, 2:], features_by_hand(latents)[rows, columns])
    assert frame.columns[2] == "mean 2017-09-15 0"
    assert len(latents.terralatent.sample(10_000)) == SIDE * (SIDE - 1)
    by_std = latents.terralatent.sample(5, with_std=True)
    assert by_std.shape == (5, 2 + 24)


# Predictions.


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)),
        NearestCentroid(),
    ],
)
def test_a_prediction_is_the_estimators_own(estimator: Any, latents: xr.Dataset) -> None:
    inputs, y, _ = samples(latents, labels_of_squares(), "crop")
    land = predict(estimator.fit(inputs, y), latents)
    flat = features_by_hand(latents)[:, :-1].reshape(-1, 12)
    names = np.array(["none", *land["class"].attrs["class_names"]])
    assert names[land["class"].values[:, :-1]].ravel().tolist() == estimator.predict(flat).tolist()
    assert (land["class"].values[:, -1] == 0).all()
    assert land["class"].chunks is not None
    assert land.rio.crs == latents.rio.crs
    other = predict(estimator, latents.chunk(OTHER_CHUNKS))
    np.testing.assert_array_equal(land["class"], other["class"])
    if "probability" in land:
        own = land["probability"].values[:, :, :-1].reshape(2, -1).T
        np.testing.assert_allclose(own, estimator.predict_proba(flat), atol=1e-6)
        bits = -np.sum(own * np.log2(np.maximum(own, 1e-30)), axis=1)
        np.testing.assert_allclose(land.terralatent.std_map()[:, :-1].values.ravel(), bits, 1e-4)
        assert np.isnan(land["entropy"].values[:, -1]).all()


def test_a_prediction_has_the_form_of_a_map_that_was_kept(stores: Stores) -> None:
    inputs, y, _ = samples(stores["latents"], stores["labels.geojson"], "crop")
    land = predict(LogisticRegression().fit(inputs, y), stores["latents"])
    kept = open_landcover(stores["landcover"])
    for name in ("class", "probability", "entropy"):
        assert (land[name].dims, land[name].dtype) == (kept[name].dims, kept[name].dtype)
    names = ("flag_values", "flag_meanings", "flag_colors", "class_names")
    assert {n: land["class"].attrs[n] for n in names} == {n: kept["class"].attrs[n] for n in names}
    assert land["category"].values.tolist() == kept["category"].values.tolist()


def test_numbers_are_predicted_and_numbers_as_classes_keep_their_values(
    latents: xr.Dataset,
) -> None:
    frame = labels_of_squares().assign(code=[9, 120, 9, 120])
    inputs, y, _ = samples(latents, frame, "yield", numbers=True)
    assert y.dtype == np.float64
    flat = features_by_hand(latents)
    found = predict(ridge := Ridge().fit(inputs, y), latents)
    np.testing.assert_allclose(
        found["mean"][:, :-1].values.ravel(), ridge.predict(flat[:, :-1].reshape(-1, 12)), rtol=1e-5
    )
    assert np.isnan(found["mean"].values[:, -1]).all()
    inputs, y, _ = samples(latents, frame, "code")
    land = predict(LogisticRegression().fit(inputs, y), latents)
    assert set(np.unique(land["class"])) <= {0, 9, 120}
    assert land["category"].values.tolist() == ["9", "120"]
    high = land["probability"].sel(category="120") > 0.5
    np.testing.assert_array_equal(high, land["class"] == 120)


def test_what_cannot_be_is_refused(stores: Stores, latents: xr.Dataset) -> None:
    inputs, y, _ = samples(latents, frame := labels_of_squares(), "crop")
    fitted, own = LogisticRegression().fit(inputs, y), latents.terralatent
    optical = open_cube(stores["cube"])[OPTICAL].to_dataset()
    east = float(latents.x[-1])
    for call, words in (
        (lambda: own.series(0.0, 0.0), "point x 0, y 0 lies outside of the grid.*EPSG:32631; give"),
        (lambda: own.series([X, X], [Y, Y]), "One point is wanted here, not 2"),
        (lambda: own.series(3.0, 51.0, crs="nowhere"), "crs is 'nowhere', which is none"),
        (lambda: own.series(float("nan"), Y), "outside of the grid"),
        (lambda: own.series(1.0, 1.0, cube="cube"), "cube= of decoded bands alone"),
        (lambda: own.similar_to(east, Y), "no values at the place to compare with"),
        (lambda: own.similar_to([1.0, 2.0], [1.0]), "2 x and 1 y"),
        (lambda: own.similar_to(1.0, 1.0, by="angle"), "give cosine or distance"),
        (lambda: own.similar_to(frame.set_crs(None, allow_override=True)), "have no CRS"),
        (lambda: own.cluster(1), "give 2 to 254"),
        (lambda: own.cluster(254), None),
        (lambda: optical.terralatent.cluster(3), "cluster is for latents, annual vectors and dec"),
        (lambda: latents.isel(x=[-1]).terralatent.cluster(3), "0 pixels have values here"),
        (lambda: own.sample(0), "n is 0"),
        (lambda: latents.isel(x=[-1]).terralatent.sample(3), "No pixel has values"),
        (lambda: samples(latents, frame, "kind"), "no column 'kind'"),
        (lambda: samples(stores["cube"], frame, "crop"), "is a cube store; latents, annual"),
        (lambda: samples(stores["nothing"], frame, "crop"), "no store here"),
        (lambda: predict(LogisticRegression(), latents), "LogisticRegression is no fitted est"),
        (lambda: predict(fitted, latents.isel(time=[0])), "fitted to 12 features, .* 4 here"),
    ):
        if words is None:
            call()
            continue
        with pytest.raises(InputError, match=words):
            call()
