"""Results without a store: what is asked for is what a store would hold, whoever computes it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.models.annual import AnnualMap
from terralatent.models.checkpoint import load_model
from terralatent.pipeline import (
    annual,
    decode,
    embed,
    open_annual,
    open_bands,
    open_cube,
    open_latents,
)
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.block import BlockWork
from terralatent.pipeline.mapping.latents.product import Latents
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.made.models import made_up_model
from tests.made.tiny import SENSORS, tiny_cube

SIDE, BLOCK = 40, 20
DATES = ["2017-09-10", "2018-01-15", "2018-05-01"]
SENSOR = "sentinel-2-l2a"


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four blocks; less than two halos wide. Its period is a year, for annual vectors."""
    path = tmp_path_factory.mktemp("cube") / "cube"
    tiny_cube(path, side=SIDE, block=BLOCK, period=("2017-08-01", "2018-07-31"))
    store = Store.of(path)
    session = store.repository().writable_session(BRANCH)
    quality: Any = zarr.open_group(session.store, mode="r+")[f"{SENSOR}/quality"]
    quality[..., -1] = 0  # no data there, as in the bands
    store.commit(session, "no data in the last column")
    return path


@pytest.fixture(scope="module")
def model(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_model(cube, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def annual_model(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a map of years."""
    folder = made_up_model(cube, tmp_path_factory.mktemp("annual"))
    weights = torch.randn(3, 12, 4, generator=torch.Generator().manual_seed(0))
    AnnualMap(weights, torch.zeros(3), torch.ones(3)).save(folder)
    return folder


@pytest.fixture(scope="module")
def latents(cube: Path, model: Path) -> xr.Dataset:
    """Of the whole cube, computed; not to be changed."""
    with dask.config.set(scheduler="threads"):
        return embed(cube, model, dates=DATES).compute()


def same(found: xr.Dataset, wanted: xr.Dataset, tolerance: float = 1e-5) -> None:
    """Equal names, dims, coordinates and values, NaN where NaN is."""
    assert set(found.data_vars) == set(wanted.data_vars)
    xr.testing.assert_equal(found.coords.to_dataset(), wanted.coords.to_dataset())
    for name in wanted.data_vars:
        assert found[name].dims == wanted[name].dims, name
        assert found[name].dtype == wanted[name].dtype, name
        assert found[name].attrs == wanted[name].attrs, name
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=tolerance, err_msg=name)


def test_lazy_latents_are_those_of_a_store(
    cube: Path, model: Path, latents: xr.Dataset, workers: Client, tmp_path: Path
) -> None:
    embed(cube, model, tmp_path / "floats", dates=DATES, precision="float32", client=workers)
    embed(cube, model, tmp_path / "packed", dates=DATES, client=workers)
    same(open_latents(tmp_path / "floats"), latents)
    same(open_latents(tmp_path / "packed"), latents, tolerance=2.6e-4 / 2)


@pytest.mark.soak
def test_lazy_bands_and_annual_vectors_are_those_of_a_store(
    cube: Path, model: Path, annual_model: Path, workers: Client, tmp_path: Path
) -> None:
    decode(cube, model, SENSOR, DATES, tmp_path / "bands", client=workers)
    same(open_bands(tmp_path / "bands"), decode(cube, model, SENSOR, DATES))
    annual(cube, annual_model, tmp_path / "annual", components=3, precision="float32",
           window="2017-08-01/2018-07-31", client=workers)  # fmt: skip
    lazy = annual(cube, annual_model, components=3, window="2017-08-01/2018-07-31")
    same(lazy, open_annual(tmp_path / "annual"), tolerance=1e-4)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "client"])
def test_who_computes_changes_nothing(
    cube: Path, model: Path, latents: xr.Dataset, workers: Client, scheduler: str
) -> None:
    lazy = embed(cube, model, dates=DATES)
    if scheduler == "client":
        found = workers.compute(lazy).result()
    else:
        found = lazy.compute(scheduler=scheduler)
    same(found, latents)


def test_only_blocks_that_are_asked_for_are_computed(
    cube: Path, model: Path, latents: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[tuple[int, int]] = []
    compute = Latents.compute

    def counting(self: Latents, work: BlockWork) -> None:
        computed.append(work.block.index)
        compute(self, work)

    monkeypatch.setattr(Latents, "compute", counting)
    lazy = embed(cube, model, dates=DATES)
    corner = lazy.isel(y=slice(0, BLOCK), x=slice(BLOCK, SIDE))
    found = corner["mean"].compute(scheduler="synchronous")
    assert computed == [(0, 1)]
    np.testing.assert_allclose(found, latents["mean"][..., :BLOCK, BLOCK:], rtol=0, atol=1e-5)


def test_a_block_of_means_and_standard_deviations_is_three_tasks(cube: Path, model: Path) -> None:
    graph = embed(cube, model, dates=DATES)[["mean", "std"]].__dask_graph__()
    assert len(graph) == 3 * (SIDE // BLOCK) ** 2 + 1  # one node that all of them share


def test_the_model_stands_in_a_graph_by_name(cube: Path, model: Path) -> None:
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    size = len(pickle.dumps(dict(embed(cube, model, dates=DATES)["mean"].__dask_graph__())))
    more = len(pickle.dumps(dict(embed(cube, model, dates=DATES)["std"].__dask_graph__())))
    assert size < 20_000 + weights // 2
    assert more < 20_000 + weights // 2


@pytest.mark.parametrize(
    "window",
    [(slice(0, 20), slice(0, 20)), (slice(7, 23), slice(11, 38)), (slice(39, 40), slice(0, 40))],
)
def test_a_cube_that_is_selected_in_space_has_the_latents_of_the_whole(
    cube: Path, model: Path, latents: xr.Dataset, window: tuple[slice, slice]
) -> None:
    """What masks a pixel from beyond the window is read from the store."""
    y, x = window
    opened = open_cube(cube)
    by_place = opened.isel(y=y, x=x)
    by_label = opened.sel(y=opened[SENSOR]["y"][y], x=opened[SENSOR]["x"][x])
    wanted = latents.isel(y=y, x=x).drop_vars("information")
    for part in (by_place, by_label):
        same(embed(part, model, dates=DATES).drop_vars("information"), wanted)


def test_datasets_in_memory_have_the_latents_of_the_cube_that_they_were(
    cube: Path, model: Path, latents: xr.Dataset, workers: Client
) -> None:
    opened = open_cube(cube)
    loaded = {name: opened[name].to_dataset().load() for name in SENSORS}
    chunked = {name: own.chunk({"y": 17, "x": 30, "time": 16}) for name, own in loaded.items()}
    for given in (loaded, chunked):
        same(embed(given, model, dates=DATES), latents)
    same(workers.compute(embed(chunked, model, dates=DATES)).result(), latents)


def test_a_selection_in_time_is_what_the_model_says_of_these_dates(cube: Path, model: Path) -> None:
    first, last = "2017-10-01", "2018-02-28"
    part = open_cube(cube).sel(time=slice(first, last))
    found = embed(part, model, dates=DATES).compute()

    loaded, days = load_model(model), torch.from_numpy(days_since_1970(np.array(DATES, "M8[us]")))
    series = read_series(Store.of(cube).group(), list(SENSORS), slice(0, SIDE), slice(0, SIDE))
    edges = days_since_1970(np.array([first, "2018-03-01"], "M8[us]"))
    seen = {
        name: own.at((own.days >= edges[0]) & (own.days < edges[1]))
        for name, own in series.series().items()
    }
    mean, var = loaded.infer(seen, days)
    inside = np.isfinite(found["mean"].values[0, 0]).ravel()
    assert inside.any()
    shape = (len(DATES), -1, SIDE * SIDE)
    for name, wanted in (("mean", mean), ("std", loaded.latent_std(var))):
        values = found[name].values.reshape(shape)[..., inside]
        np.testing.assert_allclose(
            values, wanted.permute(1, 2, 0).numpy()[..., inside], rtol=0, atol=1e-5
        )


def test_where_leaves_out_what_it_leaves_out(cube: Path, model: Path) -> None:
    """A pixel that is left out is not there, and masks nothing: as if the region ended there."""
    opened = open_cube(cube)
    left = opened.map_over_datasets(
        lambda own: own.where(own["x"] < opened[SENSOR]["x"][15]) if "data" in own else own
    )
    cut = {name: opened[name].to_dataset().isel(x=slice(0, 15)).load() for name in SENSORS}
    found = embed(left, model, dates=DATES).compute()
    wanted = embed(cut, model, dates=DATES).compute()
    for name in ("mean", "std", "observations", "days_to_observation"):
        np.testing.assert_allclose(
            found[name][..., :15], wanted[name], rtol=0, atol=1e-5, err_msg=name
        )
    assert np.isnan(found["mean"].values[..., 15:]).all()


def test_days_to_observation_are_those_to_the_nearest_clear_date(
    cube: Path, latents: xr.Dataset
) -> None:
    opened = open_cube(cube)
    days = days_since_1970(latents["time"].values)
    nearest = np.full((len(days), SIDE, SIDE), np.inf)
    for name in SENSORS:
        own = opened[name].to_dataset().load()
        seen = own["clear"].values & own["data"].notnull().any("band").values
        for at, when in enumerate(days_since_1970(own["time"].values)):
            gap = np.abs(days - when)[:, None, None]
            nearest = np.where(seen[at], np.minimum(nearest, gap), nearest)
    wanted = np.where(np.isfinite(nearest), np.rint(nearest), np.nan)
    np.testing.assert_array_equal(latents["days_to_observation"], wanted)


def test_information_is_nought_where_nothing_was_observed(
    cube: Path, model: Path, latents: xr.Dataset
) -> None:
    assert (latents["information"] > 0).all()
    opened = open_cube(cube)
    blank = {}
    for name in SENSORS:
        own = opened[name].to_dataset().load()
        blank[name] = own.assign(clear=xr.zeros_like(own["clear"]))
    found = embed(blank, model, dates=DATES).compute()
    np.testing.assert_allclose(found["information"], 0.0, atol=1e-5)
    np.testing.assert_allclose(found["mean"].values[..., :-1], 0.0, atol=1e-6)


def test_datasets_are_kept_in_a_store_which_is_gone_on_with(
    cube: Path, model: Path, latents: xr.Dataset, tmp_path: Path
) -> None:
    opened = open_cube(cube)
    loaded = {name: opened[name].to_dataset().load() for name in SENSORS}
    out = tmp_path / "out"
    assert embed(loaded, model, out, dates=DATES, precision="float32").computed == 1
    same(open_latents(out), latents)
    assert embed(loaded, model, out, dates=DATES, precision="float32").computed == 0
    other = {SENSOR: loaded[SENSOR]}
    with pytest.raises(InputError, match="datasets"):
        embed(other, model, out, dates=DATES, precision="float32")
    same(open_latents(out), latents)


def test_a_window_is_kept_in_a_store(
    cube: Path, model: Path, latents: xr.Dataset, workers: Client, tmp_path: Path
) -> None:
    part = open_cube(cube).isel(y=slice(5, 33), x=slice(2, 40))
    embed(part, model, tmp_path / "out", dates=DATES, precision="float32", client=workers)
    found = open_latents(tmp_path / "out").drop_vars("information")
    wanted = latents.isel(y=slice(5, 33), x=slice(2, 40)).drop_vars("information")
    same(found, wanted)


@pytest.mark.parametrize(
    ("ruin", "message"),
    [
        (lambda own: {"other": own}, "shares|share|knows|none"),
        (lambda own: own.drop_attrs(deep=False), "does not say which sensor"),
        (lambda own: {SENSOR: own.drop_vars("spatial_ref")}, "has no CRS"),
        (lambda own: {SENSOR: own.rename(data="values")}, "as_sensor"),
        (lambda own: {SENSOR: own.isel(time=slice(0))}, "no time left"),
        (lambda own: {SENSOR: own, "sentinel-1-asc": own.isel(x=slice(5))}, "another grid"),
        (lambda own: {}, "is no cube"),
        (lambda own: {SENSOR: own.assign(data=own["data"] * 1e4)}, "10000"),
    ],
)
def test_what_is_no_cube_is_refused(
    cube: Path, model: Path, ruin: Callable[[xr.Dataset], Any], message: str
) -> None:
    own = open_cube(cube)[SENSOR].to_dataset().load()
    with xr.set_options(keep_attrs=True), pytest.raises(ValueError, match=message):
        embed(ruin(own), model, dates=DATES).compute()


def test_snapshot_and_masking_are_of_what_a_store_holds(cube: Path, model: Path) -> None:
    loaded = open_cube(cube)[SENSOR].to_dataset().load()
    with pytest.raises(InputError, match="at= and masking="):
        embed(loaded, model, dates=DATES, at="2020-01-01")
