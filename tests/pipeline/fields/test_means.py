"""Means of fields: what they are, and that their uncertainty knows what pixels share."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from shapely.geometry import Point, Polygon

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import load_model
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.fields.means import field_means
from terralatent.pipeline.fields.shared_errors import (
    Residuals,
    SharedErrors,
    common_share,
    pair_products,
)
from terralatent.pipeline.store.repository import Store
from tests.made.tiny import SENSORS, tiny_cube
from tests.pipeline.fields.places import (
    ALONE,
    BANDS,
    DATES,
    LEFT,
    SENSOR,
    SIDE,
    TOP,
    scene_errors,
    squares,
)


@pytest.fixture(scope="module")
def pixels(cube: Path, model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std of the surface of every pixel, (time, band, y, x); NaN in the last column."""
    loaded, group = load_model(model), Store.of(cube).group()
    series = read_series(group, sorted(SENSORS), slice(0, SIDE), slice(0, SIDE))
    times = np.array(DATES.split(","), dtype="datetime64[us]")
    days = torch.from_numpy(days_since_1970(times))
    bands = loaded.decode(SENSOR, *loaded.infer(series.series(), days), days)
    parts = [bands.mean.double().numpy(), bands.std_signal.double().numpy()]
    for part in parts:
        part[~series.seen] = np.nan
    mean, std = (part.reshape(SIDE, SIDE, 3, BANDS).transpose(2, 3, 0, 1) for part in parts)
    return mean, std


def test_a_mean_is_that_of_the_decoded_pixels(
    cube: Path, model: Path, labels: np.ndarray, pixels: tuple[np.ndarray, np.ndarray]
) -> None:
    averages = field_means(cube, model, SENSOR, DATES, labels, errors=ALONE)

    assert averages["mean"].dims == averages["std"].dims == ("field", "time", "band")
    np.testing.assert_array_equal(averages.field, [5, 7, 9, 12])
    np.testing.assert_array_equal(averages.pixels, [1, 6, 64, 6])
    for name in averages.field.values:
        wanted = np.nanmean(pixels[0][:, :, labels == name], axis=-1)
        np.testing.assert_allclose(averages["mean"].sel(field=name), wanted, rtol=0, atol=1e-5)


def test_without_shared_errors_pixels_average_out(
    cube: Path, model: Path, labels: np.ndarray, pixels: tuple[np.ndarray, np.ndarray]
) -> None:
    averages = field_means(cube, model, SENSOR, DATES, labels, errors=ALONE)

    for name in averages.field.values:
        each = pixels[1][:, :, labels == name]
        each = each[..., np.isfinite(each[0, 0])]
        wanted = np.sqrt(np.square(each).sum(-1)) / each.shape[-1]
        np.testing.assert_allclose(averages["std"].sel(field=name), wanted, rtol=1e-4)
    assert (averages.std_shared == 0).all()


def test_pixels_that_err_as_one_do_not_average_out(
    cube: Path, model: Path, labels: np.ndarray
) -> None:
    averages = field_means(cube, model, SENSOR, DATES, labels, errors=SharedErrors({}, 1.0))
    np.testing.assert_allclose(averages["std"], averages["std_pixel"], rtol=1e-4)


def test_a_large_field_is_no_surer_than_its_acquisitions(
    cube: Path, model: Path, labels: np.ndarray
) -> None:
    averages = field_means(cube, model, SENSOR, DATES, labels, errors=scene_errors(0.5), draws=16)
    alone = field_means(cube, model, SENSOR, DATES, labels, errors=ALONE)
    large, small = averages.sel(field=9), averages.sel(field=5)

    assert (averages["std"] >= averages["std_shared"]).all()
    assert (averages["std_shared"] > 0).all()
    assert (large["std"] > alone["std"].sel(field=9)).all()
    # 64 pixels share nearly all that one of them is off.
    ratio = float(np.sqrt((large["std_shared"] ** 2).mean() / (small["std_shared"] ** 2).mean()))
    assert 0.5 < ratio < 2.0


def test_shared_variance_is_that_of_the_linearised_model(cube: Path, model: Path) -> None:
    errors, y, x = scene_errors(0.05), 3, 4
    one = np.zeros((SIDE, SIDE), dtype=np.int64)
    one[y, x] = 1
    averages = field_means(cube, model, SENSOR, DATES, one, errors=errors, draws=200)

    # Each value of each date moved alone, then A C A^T.
    loaded = load_model(model)
    group = Store.of(cube).group()
    series = read_series(group, sorted(SENSORS), slice(y, y + 1), slice(x, x + 1)).series()
    days = torch.from_numpy(days_since_1970(averages.time.values))
    spread, step = loaded.sensor(SENSOR).spread, 0.02
    dates = len(series[SENSOR].days)
    count = dates * BANDS
    moves = step * (torch.eye(count).reshape(count, dates, BANDS) * spread)
    both = torch.cat([moves, -moves])
    many = {name: own.select(torch.zeros(len(both), dtype=int)) for name, own in series.items()}
    many[SENSOR] = replace(many[SENSOR], values=many[SENSOR].values + both)
    surface = loaded.decode(SENSOR, *loaded.infer(many, days), days).mean.double().numpy()
    slopes = (surface[:count] - surface[count:]) / (2 * step)
    slopes = slopes.reshape(dates, BANDS, 3, BANDS)
    wanted = np.einsum("tbqc,bd,tdqc->qc", slopes, errors.covariances[SENSOR], slopes)

    np.testing.assert_allclose(averages["std_shared"][0] ** 2, wanted, rtol=0.35)


def test_a_field_of_one_pixel_has_the_standard_deviation_of_the_pixel(
    cube: Path, model: Path, labels: np.ndarray, pixels: tuple[np.ndarray, np.ndarray]
) -> None:
    averages = field_means(
        cube, model, SENSOR, DATES, labels, errors=scene_errors(0.05, 0.4), draws=4
    )
    wanted = pixels[1][:, :, 0, 0]
    np.testing.assert_allclose(averages["std"].sel(field=5), wanted, rtol=1e-4)


@pytest.mark.parametrize("errors", [scene_errors(0.3, 0.2), None], ids=["given", "estimated"])
def test_the_tiling_changes_nothing(
    cube: Path, model: Path, labels: np.ndarray, tmp_path: Path, errors: SharedErrors | None
) -> None:
    whole = tiny_cube(tmp_path / "cube", side=SIDE, block=SIDE)
    one, other = (
        field_means(each, model, SENSOR, DATES, labels, errors=errors, draws=4)
        for each in (cube, whole)
    )
    for name in one.data_vars:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-3, atol=1e-5)
    assert np.isfinite(one["std"]).all()
    assert one.attrs["correlation"] == pytest.approx(other.attrs["correlation"], abs=1e-4)


def test_polygons_mean_what_their_pixels_mean(
    cube: Path, model: Path, labels: np.ndarray, tmp_path: Path
) -> None:
    frame = squares((6, 6, 14, 14), (2, 8, 4, 11), (0, 30, 4, 34)).set_index([["a", "b", "out"]])
    frame.to_crs("EPSG:4326").to_file(tmp_path / "fields.geojson", driver="GeoJSON")
    wanted = field_means(cube, model, SENSOR, DATES, labels, errors=ALONE)

    averages = field_means(cube, model, SENSOR, DATES, frame, errors=ALONE)
    read = field_means(cube, model, SENSOR, DATES, tmp_path / "fields.geojson", errors=ALONE)

    assert list(averages.field.values) == ["a", "b", "out"]
    for name, label in (("a", 9), ("b", 7)):
        for part in ("mean", "std"):
            read_back = averages[part].sel(field=name)
            np.testing.assert_allclose(read_back, wanted[part].sel(field=label), rtol=1e-6)
    assert np.isnan(averages["mean"].sel(field="out")).all()
    assert int(averages["pixels"].sel(field="out")) == 0
    xr.testing.assert_allclose(averages.drop_vars("field"), read.drop_vars(["field", "index"]))


def test_bad_input_is_refused(cube: Path, model: Path, labels: np.ndarray, tmp_path: Path) -> None:
    good = squares((0, 0, 4, 4))
    column = np.zeros_like(labels)
    column[:, -1] = 1
    bare = tmp_path / "bare.csv"
    bare.write_text("field,crop\n1,wheat\n")
    virtual, broken = tmp_path / "virtual.geojson", tmp_path / "broken.geojson"
    good.to_file(tmp_path / "good.geojson")
    virtual.write_text(
        f"<OGRVRTDataSource><OGRVRTLayer name='good'><SrcDataSource>{tmp_path / 'good.geojson'}"
        "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
    )
    broken.write_text((tmp_path / "good.geojson").read_text()[:-40])
    cases = (
        ({"fields": squares((0, 40, 4, 44))}, "None of the 1 fields holds the centre"),
        ({"fields": good.iloc[:0]}, "must be polygons, got 0"),
        ({"fields": good.set_geometry([Point(LEFT, TOP)], crs=good.crs)}, "the kinds .'Point'"),
        ({"fields": good.set_geometry([Polygon()], crs=good.crs)}, "All of the 1 fields are empty"),
        ({"fields": bare}, "bare.csv' cannot be read as GeoJSON: its ending is '.csv'"),
        ({"fields": virtual}, "virtual.geojson' cannot be read as GeoJSON: it does not begin"),
        ({"fields": broken}, "broken.geojson' cannot be read as GeoJSON"),
        ({"fields": squares((0, 0, math.inf, 4))}, "The field 0 has corners that are no place"),
        ({"fields": good.translate(1e30).to_frame("geometry")}, "None of the 1 fields holds"),
        ({"fields": good.set_crs(None, allow_override=True)}, "have no CRS"),
        ({"fields": tmp_path / "none.geojson"}, "no file of fields"),
        ({"fields": labels[1:]}, r"shape \(19, 20\); they must be integers"),
        ({"fields": labels + 0.5}, "float64 of shape"),
        ({"fields": 0 * labels}, "none is above 0"),
        ({"fields": column}, "None of the 1 fields has a pixel inside a scene"),
        ({"sensor": "sentinel-9"}, "'sentinel-9' is not one of the model's"),
        ({"draws": 0}, "draws is 0"),
    )
    for wrong, words in cases:
        given = {"sensor": SENSOR, "dates": DATES, "fields": labels, "errors": ALONE, **wrong}
        with pytest.raises(InputError, match=words):
            field_means(cube, model, **given)


def test_noise_and_land_that_fields_share_are_told_apart() -> None:
    draw, dates, fields, each = np.random.default_rng(3), 400, 12, 8
    noise = np.array([[0.09, 0.03], [0.03, 0.04]])
    root, share = np.linalg.cholesky(noise), 0.6
    scenes = draw.standard_normal((1, dates, 2)) @ root.T
    pairs = []
    for signal in (0.02, 0.3):
        field = np.repeat(draw.standard_normal((fields, dates, 2)), each, axis=0)
        own = draw.standard_normal((fields * each, dates, 2))
        land = np.sqrt(signal) * (np.sqrt(share) * field + np.sqrt(1 - share) * own)
        speckle = 0.2 * draw.standard_normal(land.shape)
        seen = draw.random(land.shape[:2]) < 0.7
        residual = Residuals(
            scenes + land + speckle,
            np.full(land.shape, signal),
            seen,
            np.repeat(np.arange(fields), each),
        )
        pairs.append(pair_products(residual))
    near, far = pairs

    assert near is not None
    assert far is not None
    assert common_share([(near, far)]) == pytest.approx(share, abs=0.08)
    np.testing.assert_allclose(near.noise(), noise, atol=0.02)


def test_what_nobody_can_tell_is_not_taken_to_be_independent() -> None:
    one = Residuals(*(np.zeros((3, 20, 2)) for _ in range(2)), np.ones((3, 20), bool), np.arange(3))
    assert pair_products(one) is None
    assert common_share([]) == 1.0
