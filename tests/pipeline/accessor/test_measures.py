"""Colours, clear shares, indices and uncertainty: as plain numpy has them, whatever the chunks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import open_annual, open_bands, open_cube, open_landcover, open_latents
from terralatent.pipeline.overviews.thinned import thinned
from tests.made.opened import Stores

OPTICAL, RADAR = "sentinel-2-l2a", "sentinel-1-asc"
METHODS: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
    "rgb": lambda data: data.terralatent.rgb(limits=(0.0, [0.3, 0.4, 0.5])),
    "std_map": lambda data: data.terralatent.std_map(),
}


@pytest.fixture(scope="module")
def optical(stores: Stores) -> xr.Dataset:
    return open_cube(stores["cube"])[OPTICAL].to_dataset()


@pytest.fixture(scope="module")
def latents(stores: Stores) -> xr.Dataset:
    return open_latents(stores["latents"])


@pytest.fixture(scope="module")
def bands(stores: Stores) -> xr.Dataset:
    return open_bands(stores["bands"])


@pytest.fixture(scope="module")
def reflectance() -> xr.Dataset:
    """Decoded bands of which an index can be made; surfaces that are known well."""
    random = np.random.default_rng(0)
    names = ["B02", "B03", "B04", "B08"]
    mean = random.uniform(0.05, 0.5, (2, 4, 5, 6))
    return xr.Dataset(
        {
            "mean": (("time", "band", "y", "x"), mean),
            "std_signal": (("time", "band", "y", "x"), random.uniform(1e-4, 1e-3, mean.shape)),
        },
        coords={"band": names},
        attrs={"sensor": OPTICAL},
    )


def test_colours_have_one_stretch_for_all_dates_and_channels(optical: xr.Dataset) -> None:
    optical = optical.isel(time=slice(0, 12))  # of more dates some are chosen
    image = optical.terralatent.rgb(percent=5)

    bands = optical["data"].sel(band=["B04", "B03", "B02"]).transpose("time", "y", "x", "band")
    values = bands.values
    low, high = np.percentile(values[optical["clear"].values], [5, 95])
    np.testing.assert_allclose(
        image.values, np.clip((values - low) / (high - low), 0.0, 1.0), atol=1e-5
    )
    assert image.dims == ("time", "y", "x", "rgb")
    assert image.dtype == np.float32
    assert image.rio.crs == optical.rio.crs


def test_clouds_do_not_set_the_stretch(stores: Stores, optical: xr.Dataset) -> None:
    cloudy = open_cube(stores["cube"], clear=False)[OPTICAL].to_dataset()
    image, same = cloudy.terralatent.rgb(), optical.terralatent.rgb()
    assert image.attrs == same.attrs
    seen = optical["clear"].values
    np.testing.assert_array_equal(image.values[seen], same.values[seen])


def test_colours_with_limits_read_nothing_and_know_no_chunks(latents: xr.Dataset) -> None:
    forbidden = latents["mean"].data.map_blocks(_refuse, dtype=np.float32, meta=np.empty((0,) * 4))
    unread = latents.assign(mean=latents["mean"].copy(data=forbidden))
    assert unread.terralatent.rgb(limits=(-1, 1), channels=[0, 1, 2]).shape == (3, 18, 18, 3)
    with pytest.raises(AssertionError, match="was read"):
        unread.terralatent.rgb()


def _refuse(values: np.ndarray) -> np.ndarray:
    raise AssertionError("a pixel was read")


def test_radar_latents_and_components_have_colours(stores: Stores, latents: xr.Dataset) -> None:
    radar = open_cube(stores["cube"])[RADAR].to_dataset()
    vv, vh = (radar["data"].isel(band=n).values for n in range(2))
    image = radar.terralatent.rgb(limits=([-20, -20, -3], [0, 0, 3]))
    np.testing.assert_allclose(image[..., 2], np.clip((vv - vh + 3) / 6, 0, 1), atol=1e-5)

    mean, std = latents["mean"].values, latents["std"].values
    score = np.nanmean(mean.var(axis=0), axis=(1, 2)) / np.nanmean(std**2, axis=(0, 2, 3))
    best = int(np.argmax(score))
    image = latents.terralatent.rgb()
    assert f"red {best}," in image.attrs["long_name"]
    low, high = np.nanpercentile(mean[:, best], [2, 98])
    np.testing.assert_allclose(
        image[..., 0], np.clip((mean[:, best] - low) / (high - low), 0, 1), atol=1e-5
    )
    vectors = open_annual(stores["annual"]).terralatent.rgb()
    assert vectors.attrs["long_name"].endswith("red 0, green 1, blue 2")


@pytest.mark.parametrize("name", METHODS)
def test_chunks_and_the_order_of_selection_change_nothing(name: str, latents: xr.Dataset) -> None:
    method, part = METHODS[name], {"y": slice(3, 11), "x": slice(5, 16), "time": [0, 2]}
    whole = method(latents)
    other = method(latents.chunk({"time": 1, "latent": 2, "y": 5, "x": 7}))
    np.testing.assert_allclose(whole.values, other.values, rtol=1e-6)
    np.testing.assert_allclose(whole.isel(part).values, method(latents.isel(part)).values)
    single = method(latents.isel(time=1))
    np.testing.assert_allclose(whole.isel(time=1).values, single.values)


@pytest.mark.parametrize(("size", "wanted"), [(200, 200), (256, 256), (300, 256), (5000, 256)])
def test_a_bounded_part_is_of_whole_squares_from_end_to_end(size: int, wanted: int) -> None:
    data = xr.Dataset(coords={"y": np.arange(size), "x": np.arange(70), "time": np.arange(30)})
    rows = thinned(data)["y"].values
    assert len(rows) == wanted
    starts = rows[np.flatnonzero(np.diff(rows, prepend=-2) != 1)]
    assert (starts % 64 == 0).all()
    assert rows[0] == 0
    assert size - rows[-1] <= 64 or wanted < 256
    dates = thinned(data)["time"].values
    assert (dates[0], dates[-1], len(dates)) == (0, 29, 12)


def test_the_clear_share_is_that_of_the_grid(optical: xr.Dataset) -> None:
    share = optical.terralatent.clear()
    assert share.chunks is not None
    wanted = optical["clear"].values.reshape(24, -1).sum(axis=1) / 18**2
    np.testing.assert_allclose(share.values, wanted, rtol=1e-6)
    some = optical.isel(time=slice(4, 9)).terralatent.clear()
    np.testing.assert_array_equal(some.values, share.values[4:9])


def test_an_index_has_the_interval_that_draws_of_the_surface_have(reflectance: xr.Dataset) -> None:
    found = reflectance.terralatent.index("ndvi")
    random = np.random.default_rng(1)
    red, nir = (reflectance.sel(band=name) for name in ("B04", "B08"))
    drawn = [
        own["mean"].values + own["std_signal"].values * random.normal(size=(4000, 2, 5, 6))
        for own in (red, nir)
    ]
    ndvi = (drawn[1] - drawn[0]) / (drawn[1] + drawn[0])
    np.testing.assert_allclose(found["std"], ndvi.std(axis=0), rtol=0.08)
    inside = (ndvi > found["q05"].values) & (ndvi < found["q95"].values)
    assert abs(inside.mean() - 0.9) < 0.01
    middle = 0.5 * (found["q05"] + found["q95"])
    np.testing.assert_allclose(middle, found["value"], rtol=1e-6)


def test_an_index_of_a_sensor_is_of_what_is_clear(reflectance: xr.Dataset) -> None:
    seen = reflectance.rename(mean="data").drop_vars("std_signal")
    found = seen.terralatent.index("ndvi")
    assert list(found) == ["value"]
    red, nir = (seen["data"].sel(band=name).values for name in ("B04", "B08"))
    np.testing.assert_allclose(found["value"], (nir - red) / (nir + red), rtol=1e-6)


def test_uncertainty_is_one_number_of_each_pixel(stores: Stores, latents: xr.Dataset) -> None:
    std = latents["std"].values
    informed = np.nanmean(-np.log(std), axis=(0, 2, 3)) >= 0.1
    assert informed.any()
    np.testing.assert_allclose(
        latents.terralatent.std_map(), (std[:, informed] ** 2).mean(axis=1), rtol=1e-5
    )
    named = [n for n in range(4) if informed[n]]
    lazy = latents.terralatent.std_map(latents=named)
    np.testing.assert_array_equal(lazy.values, latents.terralatent.std_map().values)

    for data, variable in (
        (open_bands(stores["bands"]), "std_signal"),
        (open_annual(stores["annual"]), "std"),
    ):
        wanted = np.sqrt((data[variable].values.astype(np.float64) ** 2).mean(axis=1))
        np.testing.assert_allclose(data.terralatent.std_map(), wanted, rtol=1e-5)
    land = open_landcover(stores["landcover"])
    np.testing.assert_array_equal(land.terralatent.std_map(), land["entropy"])


def test_what_is_asked_of_the_wrong_kind_is_refused(
    stores: Stores, optical: xr.Dataset, latents: xr.Dataset, bands: xr.Dataset
) -> None:
    land = open_landcover(stores["landcover"])
    for call, words in (
        (lambda: latents.terralatent.clear(), "clear is for a sensor of a cube; this .* latents"),
        (lambda: optical.terralatent.std_map(), "std_map is for latents, decoded bands, .*cube"),
        (lambda: land.terralatent.rgb(), "rgb is for .*; this Dataset is a map of classes"),
        (lambda: bands.terralatent.index("ndvi"), "NDVI is made of"),
        (lambda: optical.terralatent.index("nvdi"), "no index 'nvdi'"),
        (lambda: latents.terralatent.rgb(channels=["7"]), "no latent '7' here; there are 0, 1"),
        (lambda: latents.terralatent.rgb(limits=(1, 0)), "must lie below"),
        (lambda: latents.terralatent.rgb(limits=3), "each a number or three"),
        (lambda: latents.terralatent.rgb(percent=50), "less than 50"),
        (lambda: latents.terralatent.std_map(latents=[9]), "no latent '9' here"),
        (lambda: xr.Dataset({"a": 1}).terralatent.rgb(), "variables a .* nothing of ours"),
        (lambda: open_cube(stores["cube"]).terralatent.rgb(), r"take it of tree\['sentinel-1-asc'"),
    ):
        with pytest.raises(InputError, match=words):
            call()
