"""Datasets of anybody's in the form of a cube's: by hand, as odc-stac, stackstac and xcube do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.as_sensor import as_sensor, sky_of

SENSOR = "sentinel-2-l2a"
TIMES = np.array(["2018-05-01T10:50", "2018-05-04T10:40", "2018-05-06T10:50"], "M8[us]")
SIDE = 6
METRES = 10.0 * np.arange(SIDE)
CLOUD, GRASS, NOTHING = 9, 4, 0


@pytest.fixture
def loaded() -> xr.Dataset:
    """What odc-stac gives: digital numbers, a mask band, no data 0."""
    random = np.random.default_rng(0)
    dims, shape = ("time", "y", "x"), (len(TIMES), SIDE, SIDE)
    numbers = {name: random.integers(1100, 5000, shape).astype("uint16") for name in ("red", "nir")}
    mask = random.choice([CLOUD, GRASS], shape).astype("uint8")
    for values in (*numbers.values(), mask):
        values[0, 0] = NOTHING
    data = xr.Dataset(
        {**{name: (dims, values, {"nodata": 0}) for name, values in numbers.items()},
         "SCL": (dims, mask)},
        coords={"time": TIMES, "y": 5_680_000.0 - METRES, "x": 540_000.0 + METRES},
    )  # fmt: skip
    return data.odc.assign_crs("EPSG:32631")


BANDS = {"nir": "B08", "red": "B04"}
GIVEN: dict[str, Any] = {"bands": BANDS, "scale": 1e-4, "offset": -0.1}


def test_values_are_numbers_times_scale_plus_offset_and_nan_where_there_is_none(
    loaded: xr.Dataset,
) -> None:
    found = as_sensor(loaded, SENSOR, **GIVEN)
    assert list(found["band"].values) == ["B04", "B08"]  # in the sensor's order
    assert found["data"].dims == ("time", "band", "y", "x")
    assert found["data"].dtype == np.float32
    assert found["data"].attrs["units"] == "1"
    assert found.attrs["sensor"] == SENSOR
    assert found["data"].odc.crs.epsg == 32631
    for place, name in enumerate(("red", "nir")):
        numbers = loaded[name].values
        wanted = np.where(numbers == 0, np.nan, numbers * np.float32(1e-4) + np.float32(-0.1))
        np.testing.assert_allclose(found["data"][:, place], wanted, rtol=0, atol=1e-6)


def test_the_forms_of_clear_agree(loaded: xr.Dataset) -> None:
    mask = loaded["SCL"].values
    clear = xr.DataArray(mask == GRASS, dims=("time", "y", "x"))
    forms: list[Any] = [None, {"SCL": [GRASS]}, clear, "seen"]
    for form in forms:
        found = as_sensor(loaded.assign(seen=clear), SENSOR, clear=form, **GIVEN)
        np.testing.assert_array_equal(found["clear"], mask == GRASS)
    sky = sky_of(as_sensor(loaded, SENSOR, **GIVEN)).values
    np.testing.assert_array_equal(sky == 1, mask == GRASS)
    np.testing.assert_array_equal(sky == 2, mask == CLOUD)


def test_lazy_stays_lazy_and_the_same(loaded: xr.Dataset) -> None:
    lazy = as_sensor(loaded.chunk({"time": 1, "x": 4}), SENSOR, **GIVEN)
    assert all(lazy[name].chunks for name in lazy.data_vars)
    xr.testing.assert_equal(lazy.compute(), as_sensor(loaded, SENSOR, **GIVEN))


def test_names_of_catalogues_are_known_and_axes_may_have_other_names(loaded: xr.Dataset) -> None:
    wanted = as_sensor(loaded, SENSOR, **GIVEN)
    named = as_sensor(loaded, SENSOR, scale=1e-4, offset=-0.1)  # red and nir are Earth Search's
    xr.testing.assert_equal(named, wanted)
    degrees = loaded.rename(y="lat", x="lon")
    np.testing.assert_array_equal(as_sensor(degrees, SENSOR, **GIVEN)["data"], wanted["data"])


def test_one_array_with_a_dim_of_bands_is_taken_as_well(loaded: xr.Dataset) -> None:
    """As stackstac gives it, floats with its EPSG code as a coordinate."""
    stack = loaded[["red", "nir", "SCL"]].astype("float64").to_dataarray("band")
    stack = stack.transpose("time", "band", "y", "x").drop_vars("spatial_ref")
    stack = stack.assign_coords(epsg=32631)
    found = as_sensor(stack, SENSOR, nodata=0, clear={"SCL": [GRASS]}, **GIVEN)
    xr.testing.assert_allclose(found["data"], as_sensor(loaded, SENSOR, **GIVEN)["data"])
    assert found["data"].odc.crs.epsg == 32631


def test_an_offset_may_change_over_time(loaded: xr.Dataset) -> None:
    offsets = xr.DataArray([0.0, -0.1, -0.1], dims="time")
    found = as_sensor(loaded, SENSOR, **{**GIVEN, "offset": offsets})
    plain = as_sensor(loaded, SENSOR, **{**GIVEN, "offset": 0.0})
    difference = (found["data"] - plain["data"]).mean(("band", "y", "x"))
    np.testing.assert_allclose(difference, offsets, atol=1e-6)


def test_times_with_a_zone_are_brought_to_utc(loaded: xr.Dataset) -> None:
    local = np.array([pd.Timestamp(time, tz="UTC").tz_convert("Asia/Tokyo") for time in TIMES])
    found = as_sensor(loaded.assign_coords(time=local), SENSOR, **GIVEN)
    np.testing.assert_array_equal(found["time"], TIMES)


def merged_items() -> list[Any]:
    stamp = pd.Timestamp("2018-05-01T10:50", tz="UTC")
    return [
        SimpleNamespace(datetime=stamp, properties={"platform": "sentinel-2a"}),
        SimpleNamespace(
            datetime=stamp + pd.Timedelta(hours=3), properties={"platform": "sentinel-2b"}
        ),
    ]


def test_a_time_that_merges_two_platforms_is_warned_of(
    loaded: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    as_sensor(loaded, SENSOR, items=merged_items()[:1], **GIVEN)
    assert "merge" not in caplog.text
    as_sensor(loaded, SENSOR, items=merged_items(), **GIVEN)
    assert "1 of 3 times merge" in caplog.text
    assert "sentinel-2b" in caplog.text


def test_without_a_mask_band_all_is_clear_which_is_said(
    loaded: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    found = as_sensor(loaded.drop_vars("SCL"), SENSOR, **GIVEN)
    assert "no mask band" in caplog.text
    np.testing.assert_array_equal(found["clear"], found["data"].notnull().any("band"))


MISTAKES: list[tuple[Any, dict[str, Any], str]] = [
    (lambda data: data.drop_vars("spatial_ref"), GIVEN, r"write_crs\(\"EPSG:32631\"\)"),
    (lambda data: data.isel(time=0, drop=True), GIVEN, r"expand_dims\(time="),
    (lambda data: data.rename(x="easting"), GIVEN, r"no 'x'; rename it"),
    (lambda data: data, {"scale": 1e-4, "bands": {"rouge": "B04"}}, "has no rouge"),
    (lambda data: data, {"scale": 1e-4, "bands": {"red": "B99"}}, "has no band B99"),
    (lambda data: data[["SCL"]], {"scale": 1e-4}, "none of SCL is one of its bands"),
    (lambda data: data, {"bands": BANDS}, r"integers \(uint16\).*scale=0.0001"),
    (lambda data: data.astype("float32"), {"bands": BANDS, "nodata": 0}, "divide by 10000"),
    (lambda data: data, {**GIVEN, "clear": {"fmask": [0]}}, "names fmask"),
    (lambda data: data, {**GIVEN, "clear": "SCL"}, "holds uint8; give a bool array"),
    (
        lambda data: data.assign_coords(
            time=[pd.Timestamp(time, tz=zone) for time, zone in
                  zip(TIMES, ("UTC", "Asia/Tokyo", "UTC"), strict=True)]
        ),
        GIVEN,
        "time zones Asia/Tokyo and UTC",
    ),
    (lambda data: data.assign_coords(x=np.arange(SIDE) ** 2.0), GIVEN, "no regular grid"),
    (lambda data: data.isel(time=[0, 1, 1]), GIVEN, "is there twice"),
]  # fmt: skip


@pytest.mark.parametrize(("ruin", "given", "message"), MISTAKES)
def test_what_a_dataset_does_not_say_is_asked_for(
    loaded: xr.Dataset, ruin: Any, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        as_sensor(ruin(loaded), SENSOR, **given)


def test_an_unknown_sensor_is_named_with_those_that_are_known(loaded: xr.Dataset) -> None:
    with pytest.raises(InputError, match="no sensor 'sentinel-9'; there are"):
        as_sensor(loaded, "sentinel-9", **GIVEN)
