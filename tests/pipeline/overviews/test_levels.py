"""Overviews say of each pixel what all those of level 0 in it say, whatever the tiling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr_cm
from distributed import Client, LocalCluster

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import make_overviews, open_landcover, open_latents
from terralatent.pipeline.overviews import make, pyramid
from terralatent.pipeline.overviews.opened import level_shapes
from terralatent.pipeline.region import grid_of
from terralatent.pipeline.store.repository import Store
from tests.commands.contents import contents
from tests.made.results import MEAN, STD, made_up_latents, made_up_result, result_grid, stored

SHAPE = (75, 101)
RHO = {"sides": [2, 4, 64], "rho": [[0.9, 0.5], [0.6, 0.3], [0.2, 0.1]]}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of 64 pixels, and levels down to 8."""
    for name, value in {"TASK": 64, "WINDOW": 32, "LEAST": 32, "SMALLEST": 8}.items():
        monkeypatch.setattr(pyramid, name, value)


def pixels_of(values: np.ndarray, level: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """For each pixel of a level, its row, column and the pixels of level 0 in it, (..., n)."""
    side = 2**level
    for row in range(-(-values.shape[-2] // side)):
        for column in range(-(-values.shape[-1] // side)):
            part = values[..., row * side : (row + 1) * side, column * side : (column + 1) * side]
            yield row, column, part.reshape(*part.shape[:-2], -1)


def assert_mean(stored: np.ndarray, level: np.ndarray, number: int, fill: float | None) -> None:
    for row, column, part in pixels_of(stored, number):
        kept = np.ma.masked_equal(part, fill) if fill is not None else np.ma.asarray(part)
        wanted = np.rint(kept.astype(np.float64).mean(axis=-1))
        np.testing.assert_array_equal(
            level[..., row, column], np.ma.filled(wanted, 0 if fill is None else fill)
        )


def mean_std(stds: np.ndarray, rho: float) -> float:
    """Of the mean of errors with these standard deviations: over all pairs of them."""
    alike = np.full((stds.size, stds.size), rho)
    np.fill_diagonal(alike, 1.0)
    return float(np.sqrt(stds @ alike @ stds)) / stds.size


def test_every_level_is_made_from_the_pixels_of_level_0(workers: Client, tmp_path: Path) -> None:
    path = made_up_latents(tmp_path / "latents", SHAPE, rho=RHO)

    report = make_overviews(path, client=workers)

    root: Any = Store.of(path).group()
    assert report.levels == ((38, 51), (19, 26), (10, 13), (5, 7))
    assert report.computed == 3 * 2 * 2
    mean, std, counts = (np.asarray(root[name]) for name in ("mean", "std", "observations"))
    for level, side in ((1, 2), (2, 4), (3, 64), (4, 64)):
        own = root[f"overviews/{level}"]
        assert own["mean"].attrs["scale_factor"] == MEAN["scale_factor"]
        assert_mean(mean, np.asarray(own["mean"]), level, MEAN["_FillValue"])
        assert_mean(counts, np.asarray(own["observations"]), level, None)
        rho = RHO["rho"][RHO["sides"].index(side)]
        assert own["std"].attrs["rho"] == rho
        found, rms = np.asarray(own["std"]), np.asarray(own["std_rms"])
        for row, column, part in pixels_of(std[1].astype(float), level):
            there = part[0] != STD["_FillValue"]
            if not there.any():
                assert (found[1, :, row, column] == STD["_FillValue"]).all()
                assert rms[1, row, column] == STD["_FillValue"]
                continue
            wanted = [mean_std(part[n, there], rho[n]) for n in range(2)]
            np.testing.assert_allclose(found[1, :, row, column], wanted, atol=0.5001, rtol=0)
            both = np.sqrt(np.mean(np.square(wanted)))
            np.testing.assert_allclose(rms[1, row, column], both, atol=0.5001, rtol=0)


def test_without_a_known_correlation_errors_are_taken_for_the_same(
    workers: Client, tmp_path: Path
) -> None:
    path = made_up_latents(tmp_path / "latents", (40, 40))
    make_overviews(path, client=workers)
    root: Any = Store.of(path).group()
    assert root["overviews/1/std"].attrs["rho"] == [1.0]
    assert_mean(np.asarray(root["std"]), np.asarray(root["overviews/1/std"]), 1, STD["_FillValue"])


def test_two_tilings_and_any_workers_leave_the_same_bytes(
    workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [
        made_up_latents(tmp_path / str(block), SHAPE, rho=RHO, block=block) for block in (16, 48)
    ]
    three = {"threads_per_worker": 3, "processes": False, "dashboard_address": ":0"}
    with LocalCluster(n_workers=1, **three) as cluster, Client(cluster) as other:
        for path, client in zip(paths, (workers, other), strict=True):
            make_overviews(path, client=client)
            monkeypatch.setattr(make, "TIME_CHUNK", 1)  # dates in memory at a time
    one, two = (
        {key: value for key, value in contents(path).items() if key.startswith("overviews")}
        for path in paths
    )
    assert one == two
    before = contents(paths[0])
    assert make_overviews(paths[0], client=workers).computed == 0
    assert contents(paths[0]) == before


def test_levels_are_named_by_the_convention_and_open_on_their_grids(
    workers: Client, tmp_path: Path
) -> None:
    path = made_up_latents(tmp_path / "latents", SHAPE)
    identity = Store.of(path).about()
    make_overviews(path, client=workers)

    root: Any = Store.of(path).group()
    assert Store.of(path).about() == identity
    document = {"zarr_format": 3, "node_type": "group", "attributes": root.attrs.asdict()}
    zarr_cm.multiscales.validate_group_metadata(document)
    assert level_shapes(root) == {0: SHAPE, 1: (38, 51), 2: (19, 26), 3: (10, 13), 4: (5, 7)}
    for entry in root.attrs["multiscales"]["layout"]:
        group = root if entry["asset"] == "." else root[entry["asset"]]
        assert list(group.attrs["spatial:transform"]) == entry["spatial:transform"]
        np.testing.assert_allclose(group["x"][0], 540_000 + 5 * entry["transform"]["scale"][1])
    whole = result_grid(SHAPE)
    for level in range(1, 5):
        opened = open_latents(path, level=level)
        own, side = opened.odc.geobox.boundingbox, 10 * 2**level
        assert (own.left, own.top) == (whole.boundingbox.left, whole.boundingbox.top)
        assert 0 <= own.right - whole.boundingbox.right < side
        assert 0 <= whole.boundingbox.bottom - own.bottom < side
        assert grid_of(root[f"overviews/{level}"]) == opened.odc.geobox
        assert opened["mean"].dtype == np.float32
        assert opened["std_rms"].dims == ("time", "y", "x")
        assert (opened.attrs["level"], "multiscales" in opened.attrs) == (level, False)
    with pytest.raises(InputError, match="has no level 5; it has 0 to 4"):
        open_latents(path, level=5)


def test_classes_go_by_majority_and_probabilities_by_their_mean(
    workers: Client, tmp_path: Path
) -> None:
    random, shape = np.random.default_rng(1), (38, 45)
    classes = random.choice([0, 3, 7, 9], shape, p=[0.4, 0.2, 0.2, 0.2]).astype(np.uint8)
    chance = random.integers(0, 251, (3, *shape)).astype(np.uint8)
    chance[..., classes == 0] = 255
    flags = {
        "flag_values": [3, 7, 9],
        "flag_meanings": "a b c",
        "flag_colors": "#000000 #111111 #222222",
        "class_names": ["a", "b", "c"],
        "_FillValue": 0,
    }
    arrays = (
        stored("class", (), classes, 16, flags),
        stored(
            "probability", ("category",), chance, 16, {"scale_factor": 0.004, "_FillValue": 255}
        ),
    )
    path = made_up_result(tmp_path / "map", "landcover", arrays, shape, 16)

    make_overviews(path, client=workers)

    root: Any = Store.of(path).group()
    for level in (1, 2):
        own = root[f"overviews/{level}"]
        assert_mean(chance, np.asarray(own["probability"]), level, 255)
        found = np.asarray(own["class"])
        for row, column, part in pixels_of(classes, level):
            counts = [int((part == value).sum()) for value in (3, 7, 9)]
            wanted = (3, 7, 9)[counts.index(max(counts))] if any(counts) else 0
            assert found[row, column] == wanted
    assert open_landcover(path, level=1)["class"].attrs["class_names"] == ["a", "b", "c"]


def test_bands_in_floats_and_logarithms_of_a_year(workers: Client, tmp_path: Path) -> None:
    random, shape = np.random.default_rng(2), (33, 47)
    rho = {"overview_correlation": {"sides": [2], "rho": [[0.2, 0.4]]}}
    values = random.random((2, 3, *shape)).astype(np.float32)
    values[..., :5, :5] = np.nan
    attrs = {"units": "1"}
    lead = ("time", "band")
    names = ("mean", "std_signal", "std", "q05")
    arrays = tuple(stored(name, lead, values, 16, attrs) for name in names)
    bands = made_up_result(tmp_path / "bands", "bands", arrays, shape, 16, rho)
    packing = {"scale_factor": 0.02, "add_offset": -2.0, "_FillValue": -128}
    logs = random.integers(-127, 128, (2, 2, *shape)).astype(np.int8)
    logs[..., 3:9, :] = -128
    arrays = (stored("log_std", ("time", "component"), logs, 16, packing),)
    annual = made_up_result(tmp_path / "annual", "annual", arrays, shape, 16, rho)
    for path in (bands, annual):
        make_overviews(path, client=workers)

    own: Any = Store.of(bands).group()["overviews/1"]
    for name, alike in (("std_signal", 0.4), ("std", 1.0)):
        assert own[name].attrs["rho"] == [alike]
        found = np.asarray(own[name])
        for row, column, part in pixels_of(values[0, 0], 1):
            part = part[~np.isnan(part)].astype(float)
            wanted = mean_std(part, alike) if part.size else np.nan
            np.testing.assert_allclose(found[0, 0, row, column], wanted, rtol=1e-6)
    means = [np.asarray(own[name])[1, 2] for name in ("mean", "q05")]
    for row, column, part in pixels_of(values[1, 2], 1):
        part = part[~np.isnan(part)].astype(float)
        wanted = part.mean() if part.size else np.nan
        for found in means:
            np.testing.assert_allclose(found[row, column], wanted, rtol=1e-6)
    found = np.asarray(Store.of(annual).group()["overviews/1/log_std"])
    for row, column, part in pixels_of(logs[1, 1].astype(float), 1):
        stds = np.exp(part[part != -128] * 0.02 - 2.0)
        wanted = (np.log(mean_std(stds, 0.4)) + 2.0) / 0.02 if stds.size else -128
        assert abs(found[1, 1, row, column] - wanted) <= 0.5001
