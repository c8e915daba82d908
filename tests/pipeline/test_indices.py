"""Indices: against numpy's own arithmetic, and their spread against draws."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.indices import INDICES, bands_of, index_of, index_std

SENTINEL = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
LANDSAT = ["B02", "B03", "B04", "B05", "B06", "B07"]


def reflectance(bands: list[str], seed: int = 0) -> xr.DataArray:
    values = np.random.default_rng(seed).uniform(0.02, 0.5, (3, len(bands), 4, 5))
    values[:, 0] *= 0.2  # dark in blue, so that the denominator of EVI is positive
    return xr.DataArray(
        values.astype(np.float32), dims=("time", "band", "y", "x"), coords={"band": bands}
    )


def by_hand(name: str, blue: float, green: float, red: float, edge: float, nir: float) -> float:
    if name == "evi":
        return 2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)
    first, second = {"ndvi": (nir, red), "ndwi": (green, nir), "ndre": (nir, edge)}[name]
    return (first - second) / (first + second)


@pytest.mark.parametrize("name", INDICES)
def test_an_index_is_its_formula_however_it_is_chunked_and_selected(name: str) -> None:
    data = reflectance(SENTINEL)
    wanted = by_hand(name, *(data.sel(band=b).values for b in ("B02", "B03", "B04", "B05", "B08")))

    found = index_of(data, name.upper())

    assert found.dims == ("time", "y", "x")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.values, wanted, rtol=1e-5)
    lazy = index_of(data.chunk({"time": 1, "band": 3, "x": 2}), name)
    assert lazy.chunks
    np.testing.assert_array_equal(lazy.values, found.values)
    pixel = index_of(data.isel(y=1, x=2).transpose("band", "time"), name)
    np.testing.assert_array_equal(pixel.values, found.isel(y=1, x=2).values)


@pytest.mark.parametrize("name", ["ndvi", "ndwi", "evi"])
def test_bands_are_those_of_the_sensor(name: str) -> None:
    landsat = reflectance(LANDSAT)
    blue, green, red, nir = (landsat.sel(band=b).values for b in ("B02", "B03", "B04", "B05"))
    wanted = by_hand(name, blue, green, red, np.nan, nir)
    np.testing.assert_allclose(index_of(landsat, name), wanted, rtol=1e-5)
    few = landsat.sel(band=["B02", "B03", "B04", "B05"])
    np.testing.assert_allclose(index_of(few, name, "landsat-c2-l2"), wanted, rtol=1e-5)
    dated = few.assign_coords(platform=("time", ["LANDSAT_8", "landsat-8", "landsat-9"]))
    np.testing.assert_allclose(index_of(dated, name), wanted, rtol=1e-5)
    named = few.assign_coords(band=["blue", "green", "red", "nir"])
    np.testing.assert_allclose(index_of(named, name), wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("bands", "name", "sensor", "words"),
    [
        (SENTINEL, "savi", None, "no index 'savi'; there are ndvi, ndwi, ndre, evi"),
        (LANDSAT, "ndre", None, "NDRE is made of nir, red edge; .* no band for red edge here"),
        (["B02", "B08"], "ndvi", None, r"no band for red \(B04\) here, but B02, B08"),
        (["vv", "vh"], "ndvi", None, r"no band for nir \(nir\), red \(red\) here, but vv, vh"),
        (["B04", "B05"], "ndvi", None, "name the sensor=, such as landsat-c2-l2"),
        (["B04", "B05"], "ndvi", "sentinel-2-l2a", r"no band for nir \(B08\)"),
    ],
)
def test_what_cannot_be_made_says_why(
    bands: list[str], name: str, sensor: str | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        bands_of(reflectance(bands), name, sensor)


def test_nothing_is_made_of_nothing_or_of_a_denominator_that_is_not_positive() -> None:
    data = reflectance(["B04", "B08"])[0]
    data[:, 0, 0] = np.nan
    data[:, 0, 1] = 0.0
    data[0, 0, 2], data[1, 0, 2] = 0.01, -0.02
    found = index_of(data, "ndvi").values
    assert np.isnan(found[0, :3]).all()
    assert np.isfinite(found.ravel()[3:]).all()


@pytest.mark.parametrize("name", INDICES)
def test_the_spread_is_that_of_independent_draws(name: str) -> None:
    mean = reflectance(SENTINEL)[0, :, :2, :2].astype(float)
    std = 0.01 * mean
    draws = mean + std * xr.DataArray(
        np.random.default_rng(1).normal(size=(20_000, *mean.shape)), dims=("draw", *mean.dims)
    )

    wanted = index_of(draws, name).std("draw")

    np.testing.assert_allclose(index_std(mean, std, name), wanted, rtol=0.05)
