"""Batches of a cube's pixels: every pixel once an epoch, by seed, shared among workers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader

from terralatent.catalogs.errors import InputError
from terralatent.models.observations import Observations
from terralatent.pipeline import Masking, PixelSeries, open_cube
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.training import pixel_series
from tests.made.tiny import tiny_cube

SIDE = 20


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cube(tmp_path_factory.mktemp("cube") / "cube", side=SIDE)


@pytest.fixture(autouse=True)
def small_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine patches, of which two are mixed."""
    monkeypatch.setattr(pixel_series, "PATCH", 8)
    monkeypatch.setattr(pixel_series, "MIXED", 2)


def joined(batches: list[Any]) -> tuple[dict[str, Observations], np.ndarray]:
    """All pixels of batches with their places, row by row."""
    places = torch.cat([own for _, own in batches])
    order = torch.from_numpy(np.lexsort((places[:, 1].numpy(), places[:, 0].numpy())))
    series = {
        name: Observations.concatenate([own[name] for own, _ in batches]).select(order)
        for name in batches[0][0]
    }
    return series, places[order].numpy()


def test_each_pixel_comes_once_an_epoch_as_it_is_read(cube: Path) -> None:
    batches = list(PixelSeries(cube, batch=50, places=True))
    assert [len(places) for _, places in batches] == [*[50] * 7, 30]
    series, places = joined(batches)
    rows, columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
    wanted = np.stack([rows, columns], axis=1)[columns < SIDE - 1]
    np.testing.assert_array_equal(places, wanted)  # the last column was never observed
    whole = read_series(
        Store.of(cube).group(), ["sentinel-1-asc", "sentinel-2-l2a"], slice(0, 20), slice(0, 20)
    )
    for name, own in whole.series(np.flatnonzero(columns < SIDE - 1)).items():
        for part in ("days", "values", "valid", "distance"):
            assert torch.equal(getattr(own, part), getattr(series[name], part))


def test_seed_and_epoch_alone_decide_the_order(cube: Path) -> None:
    def order(seed: int, epoch: int = 0, **options: Any) -> list[list[int]]:
        series = PixelSeries(cube, ["sentinel-2-l2a"], seed=seed, places=True, **options)
        series.set_epoch(epoch)
        return places_of(series)

    first = order(0)
    assert first == order(0)
    assert first != order(1)
    assert first != order(0, epoch=1)
    plain = order(5, shuffle=False)
    assert plain[:8] == [[0, column] for column in range(8)]


def test_processes_share_the_patches(cube: Path) -> None:
    shares = [places_of(PixelSeries(cube, places=True, part=(n, 3))) for n in range(3)]
    assert all(shares)
    assert sorted(place for share in shares for place in share) == sorted(
        places_of(PixelSeries(cube, places=True))
    )


def places_of(batches: Iterable[Any]) -> list[list[int]]:
    return torch.cat([places for _, places in batches]).tolist()


@pytest.mark.soak
def test_workers_in_processes_give_what_this_one_gives(cube: Path) -> None:
    series = PixelSeries(cube, batch=64, places=True)
    loader = DataLoader(series, batch_size=None, num_workers=2, multiprocessing_context="spawn")
    assert sorted(places_of(loader)) == sorted(places_of(series))


def test_a_forked_worker_is_refused_and_does_not_wait_for_ever(cube: Path) -> None:
    series = PixelSeries(cube)
    forked = DataLoader(series, batch_size=None, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(InputError, match='give the DataLoader multiprocessing_context="spawn"'):
        next(iter(forked))


def test_a_loader_hands_batches_on_and_bands_are_those_of_a_model(cube: Path) -> None:
    bands = {"sentinel-2-l2a": ["B04", "B12", "B02"]}
    series = PixelSeries(cube, ["sentinel-2-l2a"], batch=100, bands=bands)
    seen = next(iter(DataLoader(series, batch_size=None)))["sentinel-2-l2a"]
    assert seen.values.shape == (100, 24, 3)
    assert not seen.valid[..., 1].any()
    assert seen.valid[..., [0, 2]].any()


def test_a_tree_gives_the_series_of_its_store_as_it_was_opened(cube: Path) -> None:
    tree = open_cube(cube, masking={"sentinel-2-l2a": Masking(dilate=2)})
    _, places = joined(list(tree.terralatent.to_torch(64, places=True)))
    given, _ = joined(list(tree.terralatent.to_torch(64, places=True)))
    clear = tree["sentinel-2-l2a"]["clear"].values[:, places[:, 0], places[:, 1]].T
    np.testing.assert_array_equal(given["sentinel-2-l2a"].observed, clear)
    part = tree.isel(y=slice(3, 14), x=slice(5, 20)).terralatent.to_torch(64, places=True)
    _, inside = joined(list(part))
    rows, columns = places.T
    kept = (rows >= 3) & (rows < 14) & (columns >= 5)
    np.testing.assert_array_equal(inside, places[kept])
    for other in (tree.isel(time=slice(0, 3)), tree.compute(), xr.DataTree()):
        with pytest.raises(InputError, match="to_torch reads the store of a cube as open_cube"):
            other.terralatent.to_torch()


def test_what_cannot_be_read_is_refused(cube: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no acquisitions of sentinel-3; it has sentinel-1-a"):
        PixelSeries(cube, ["sentinel-3"])
    with pytest.raises(InputError, match="batch is 0"):
        PixelSeries(cube, batch=0)
    with pytest.raises(InputError, match=r"part is \(2, 2\)"):
        PixelSeries(cube, part=(2, 2))
    with pytest.raises(InputError, match="holds no pixels of the grid"):
        PixelSeries(cube, window=(slice(30, 40), slice(0, 5)))
    with pytest.raises(InputError, match="no store here"):
        PixelSeries(tmp_path / "nothing")
