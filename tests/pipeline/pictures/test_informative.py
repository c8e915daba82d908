"""How much observations left of the prior: latents that they do not inform do not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import Client

from terralatent.pipeline import make_overviews, open_latents
from terralatent.pipeline.overviews import pyramid
from terralatent.pipeline.pictures.informative import information, share_left
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.made.results import made_up_latents

DIMS = ("time", "latent", "y", "x")


def latents(std: np.ndarray) -> xr.Dataset:
    return xr.Dataset({"std": (DIMS, std.astype(np.float32))})


def test_information_is_the_mean_of_minus_log_std_or_what_the_store_says() -> None:
    std = np.random.default_rng(0).uniform(0.1, 1.0, (3, 4, 5, 6))
    std[:, :, 0, 0] = np.nan
    wanted = [-np.nanmean(np.log(std[:, n])) for n in range(4)]
    np.testing.assert_allclose(information(latents(std)), wanted, rtol=1e-5)
    stored = latents(std).assign(information=("latent", [1.0, 2.0, 3.0, 4.0]))
    assert information(stored).values.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_a_latent_that_nothing_informs_changes_no_pixel() -> None:
    std = np.random.default_rng(0).uniform(0.1, 0.8, (3, 4, 5, 6))
    left, count = share_left(latents(std), information(latents(std)).values)
    assert count == 4
    np.testing.assert_allclose(left, (std**2).mean(axis=1), rtol=1e-5)
    dead = np.concatenate([std, np.full((3, 2, 5, 6), 0.97)], axis=1)
    with_dead, count = share_left(latents(dead), information(latents(dead)).values)
    assert count == 4
    np.testing.assert_allclose(with_dead, left, rtol=1e-5)
    ones = latents(np.ones((3, 4, 5, 6)))
    assert (share_left(ones, information(ones).values)[0] == 1.0).all()


def test_a_level_gives_the_share_from_what_it_keeps_of_all_latents() -> None:
    std = np.random.default_rng(0).uniform(0.1, 0.8, (3, 6, 5, 6))
    std[:, 2] = 0.98
    whole = latents(std)
    kept = whole.assign(std_rms=(whole["std"] ** 2).mean("latent") ** 0.5)
    nats = information(whole).values
    np.testing.assert_allclose(share_left(kept, nats)[0], share_left(whole, nats)[0], rtol=1e-4)


def test_a_level_has_the_information_of_its_pixels(
    workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LEAST": 16, "SMALLEST": 8}.items():
        monkeypatch.setattr(pyramid, name, value)
    table = {"sides": [2, 4], "rho": [[0.4, 0.9], [0.1, 0.0]]}
    store = made_up_latents(tmp_path / "latents", (32, 32), rho=table)
    session = Store.of(store).repository().writable_session(BRANCH)
    root: Any = zarr.open_group(session.store, mode="r+")
    packed = root["std"][...]
    wanted = np.array([10_000, 45_000], np.uint16)[:, None, None]
    root["std"][...] = np.where(packed == 65535, packed, wanted)
    session.commit("one std everywhere")
    make_overviews(store, client=workers)
    for level in (0, 1, 2):
        nats = information(open_latents(store, level=level))
        np.testing.assert_allclose(nats, -np.log([0.2, 0.9]), atol=0.1)  # holes make n smaller
