"""A pixel's series is the same whatever the window it is read in, and as the cube says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.models.observations import DISTANCE_CAP
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.cube.series import SeriesBlock, read_series
from terralatent.pipeline.region import blocks
from terralatent.pipeline.store.repository import Store

NAMES = ("sentinel-2-l2a", "sentinel-1-asc")
SIDE = 40


@pytest.fixture(scope="module")
def group(cube: Path) -> zarr.Group:
    return Store.of(cube).group()


@pytest.fixture(scope="module")
def whole(group: zarr.Group) -> SeriesBlock:
    return read_series(group, NAMES, slice(0, SIDE), slice(0, SIDE))


def pixels_of(rows: slice, columns: slice) -> np.ndarray:
    return np.arange(SIDE * SIDE).reshape(SIDE, SIDE)[rows, columns].ravel()


@pytest.mark.parametrize("size", [11, 16, 33])
def test_two_tilings_give_the_same_series(group: zarr.Group, whole: SeriesBlock, size: int) -> None:
    for block in blocks((SIDE, SIDE), size):
        part = read_series(group, NAMES, block.y, block.x)
        pixels = pixels_of(block.y, block.x)

        np.testing.assert_array_equal(part.seen, whole.seen[pixels])
        np.testing.assert_array_equal(part.observations, whole.observations[:, pixels])
        wanted = whole.series(pixels)
        for name, series in part.series().items():
            for field in ("days", "values", "valid", "distance"):
                assert torch.equal(getattr(series, field), getattr(wanted[name], field)), field


def test_series_are_what_the_cube_says(cube: Path, whole: SeriesBlock) -> None:
    tree = open_cube(cube, clear=True)
    for name, series in whole.series().items():
        data = tree[name]["data"].transpose("y", "x", "time", "band").values
        wanted = data.reshape(SIDE * SIDE, *data.shape[2:])

        np.testing.assert_array_equal(series.valid.numpy(), ~np.isnan(wanted))
        np.testing.assert_array_equal(series.values.numpy()[~np.isnan(wanted)],
                                      wanted[~np.isnan(wanted)])  # fmt: skip
        days = (tree[name]["time"].values - np.datetime64("1970-01-01")) / np.timedelta64(1, "D")
        np.testing.assert_allclose(series.days.numpy(), days, rtol=0, atol=1e-9)


def test_distance_is_to_the_nearest_masked_pixel(group: zarr.Group, whole: SeriesBlock) -> None:
    quality = group["sentinel-2-l2a/quality"][...]
    distance = whole.series()["sentinel-2-l2a"].distance.numpy().T.reshape(quality.shape)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for date, mask in enumerate(quality):
        # Class 0 is no data: it masks nothing.
        clouds = np.argwhere(~np.isin(mask, [0, 4, 5, 6, 7]))
        squares = (rows[..., None] - clouds[:, 0]) ** 2 + (columns[..., None] - clouds[:, 1]) ** 2
        nearest = np.sqrt(squares.min(axis=-1))

        np.testing.assert_allclose(distance[date], np.minimum(nearest, DISTANCE_CAP), rtol=1e-6)
    assert (quality == 0).any()
    assert distance.min() == 0.0


def test_a_sensor_without_mask_is_far_from_any(whole: SeriesBlock) -> None:
    assert (whole.series()["sentinel-1-asc"].distance == DISTANCE_CAP).all()


def test_counts_are_of_clear_dates(whole: SeriesBlock) -> None:
    series = whole.series()

    for index, name in enumerate(NAMES):
        observed = series[name].observed.sum(dim=1).numpy()
        np.testing.assert_array_equal(whole.observations[index], observed)
    assert whole.observations.dtype == np.uint16
    assert whole.seen.all()
    assert len(whole) == SIDE * SIDE


@pytest.mark.parametrize("pixels", [slice(100, 140), np.array([5, 3, 1599, 3])])
def test_some_pixels_are_the_same_as_all(whole: SeriesBlock, pixels: np.ndarray | slice) -> None:
    everything, some = whole.series(), whole.series(pixels)

    for name in NAMES:
        chosen = pixels if isinstance(pixels, slice) else torch.from_numpy(pixels)
        wanted = everything[name].select(chosen)
        assert torch.equal(some[name].values, wanted.values)
        assert torch.equal(some[name].valid, wanted.valid)
        assert torch.equal(some[name].distance, wanted.distance)


def test_an_unknown_sensor_is_refused(group: zarr.Group) -> None:
    with pytest.raises(InputError, match="no sensor landsat-c2-l2; it has sentinel-1-asc, sent"):
        read_series(group, ["landsat-c2-l2"], slice(0, 4), slice(0, 4))
