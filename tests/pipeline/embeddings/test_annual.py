"""Annual vectors of a cube: what each pixel gets, whatever the tiling, windows that add up."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.models.annual import AnnualMap, annual_vectors
from terralatent.models.checkpoint import CheckpointError, load_model
from terralatent.pipeline import annual, open_annual, status
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.embeddings.windows import Window
from terralatent.pipeline.landcover.features import find_features
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.commands.contents import contents, same
from tests.commands.mishaps import Mishap
from tests.commands.plans import FilledStore, Plan
from tests.commands.processes import Launcher
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube
from tests.netcdf import assert_same_in_netcdf

SIDE, COMPONENTS = 18, 3
PERIOD = ("2017-06-01", "2018-12-31")
FIRST, SECOND = "2017-08-01/2018-07-31", "2018"


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same pixels in blocks of 6 and of 18; none of the last column was ever observed."""
    folder = tmp_path_factory.mktemp("cubes")
    return {
        block: tiny_cube(folder / str(block), side=SIDE, block=block, period=PERIOD)
        for block in (6, 18)
    }


@pytest.fixture(scope="module")
def model(cubes: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made_up_model(cubes[6], tmp_path_factory.mktemp("model"), latents=4)
    generator = torch.Generator().manual_seed(0)
    weights = 0.05 * torch.randn(COMPONENTS, 12, 4, generator=generator)
    AnnualMap(weights, torch.zeros(COMPONENTS), torch.ones(COMPONENTS)).save(folder)
    return folder


@pytest.fixture(scope="module")
def first(
    cubes: dict[int, Path], model: Path, workers: Client, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The first window; not to be changed."""
    out = tmp_path_factory.mktemp("annual") / "first"
    annual(cubes[6], model, out, window=FIRST, components=COMPONENTS, client=workers)
    return out


def run(cube: Path, model: Path, out: Path, client: Client, window: str, **given: object) -> None:
    annual(cube, model, out, window=window, components=COMPONENTS, client=client, **given)  # type: ignore[arg-type]


def test_a_pixel_gets_what_the_model_makes_of_its_series(
    cubes: dict[int, Path], model: Path, workers: Client, tmp_path: Path
) -> None:
    run(cubes[6], model, tmp_path / "out", workers, FIRST, precision="float32")
    opened = open_annual(tmp_path / "out")
    y, x = 7, 11
    sensors = [str(name) for name in opened.sensor.values]
    series = read_series(Store.of(cubes[6]).group(), sensors, slice(y, y + 1), slice(x, x + 1))
    begin, end = np.datetime64(FIRST[:10]), np.datetime64(FIRST[11:])
    days = torch.from_numpy(days_since_1970(Window(begin, end).dates))
    ((mean, variance),) = annual_vectors(
        load_model(model), AnnualMap.load(model), series.series(), [days]  # type: ignore[arg-type]
    )  # fmt: skip
    pixel = opened.isel(time=0, y=y, x=x)
    np.testing.assert_allclose(pixel["mean"], mean[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(pixel["std"], variance[0].sqrt(), rtol=1e-4)
    for place, name in enumerate(sensors):
        own = series.by_sensor[name]
        inside = (own.days >= float(days_since_1970(np.array(begin)))) & (
            own.days < float(days_since_1970(np.array(end + 1)))
        )
        assert int(pixel["observations"][place]) == int(own.clear[0, inside].sum())


def test_two_tilings_give_the_same_vectors(
    cubes: dict[int, Path], model: Path, first: Path, workers: Client, tmp_path: Path
) -> None:
    run(cubes[18], model, tmp_path / "18", workers, FIRST)
    for name in ("mean", "log_std", "observations"):
        there, here = (np.asarray(Store.of(p).group()[name]) for p in (first, tmp_path / "18"))
        unlike = there != here
        # Batches of other sizes may round a value that lies between two steps to the other.
        assert np.abs(there.astype(int) - here).max() <= 1, name
        assert unlike.mean() < 1e-3, name


def test_what_was_never_observed_is_empty(first: Path) -> None:
    opened = open_annual(first)
    assert np.isnan(opened["mean"].values[..., -1]).all()
    assert np.isfinite(opened["mean"].values[..., :-1]).all()
    assert (opened["observations"].values[..., -1] == 0).all()


def test_windows_add_up_in_any_order_to_what_is_made_at_once(
    cubes: dict[int, Path], model: Path, workers: Client, tmp_path: Path
) -> None:
    once, later = tmp_path / "once", tmp_path / "later"
    annual(cubes[6], model, once, window=[FIRST, SECOND], components=COMPONENTS, client=workers)
    run(cubes[6], model, later, workers, SECOND)
    run(cubes[6], model, later, workers, FIRST)
    one, other = open_annual(once), open_annual(later)
    assert one.sizes["time"] == 2
    assert (one.time.values == other.time.values).all()
    assert list(one.window_end.values.astype("datetime64[D]").astype(str)) == [
        "2018-08-01",
        "2019-01-01",
    ]
    for name in ("mean", "std", "observations"):
        np.testing.assert_array_equal(one[name].values, other[name].values)


def test_annual_vectors_are_written_to_netcdf(first: Path, tmp_path: Path) -> None:
    assert_same_in_netcdf(open_annual(first), tmp_path)


def test_maps_are_made_from_annual_vectors(first: Path) -> None:
    opened = open_annual(first).isel(time=0, y=slice(2, 9), x=slice(3, 8))
    found = find_features(first, None, with_std=True)
    values = found.window(slice(2, 9), slice(3, 8))
    assert found.count == len(values) == 2 * COMPONENTS
    np.testing.assert_allclose(values[:COMPONENTS], opened["mean"], rtol=1e-6)
    np.testing.assert_allclose(np.exp(values[COMPONENTS:]), opened["std"], rtol=1e-5)
    assert found.attributes()["latents_dates"] == [FIRST]
    assert not found.unfinished().any()
    assert {"map", "components", "snapshot"} <= found.identity()["latents"].keys()


def test_the_same_again_computes_nothing_and_a_done_window_stays(
    cubes: dict[int, Path], model: Path, first: Path, workers: Client
) -> None:
    before = contents(first)
    report = annual(cubes[6], model, first, window=FIRST, components=COMPONENTS, client=workers)
    assert report.computed == 0
    same(contents(first), before)
    assert "annual vectors" in str(status(first).result.provenance["title"])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"components": 2}, "components is 3 there, 2 here"),
        ({"precision": "float32"}, 'precision is "int8" there, "float32" here'),
        ({"components": 4}, "1 to 3 components, not 4"),
        ({"precision": "int4"}, "'int4' is unknown; give int8, int16, float32"),
        ({"window": "2016"}, "is not within the cube, whose period is 2017-06-01/2018-12-31"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    cubes: dict[int, Path], model: Path, first: Path, workers: Client, given: dict, message: str
) -> None:
    before = contents(first)
    asked = {"out": first, "window": FIRST, "components": COMPONENTS, **given}
    with pytest.raises(InputError, match=message):
        annual(cubes[6], model, client=workers, **asked)
    same(contents(first), before)


def test_another_model_or_one_without_a_map_is_refused(
    cubes: dict[int, Path], first: Path, workers: Client, tmp_path: Path
) -> None:
    other = made_up_model(cubes[6], tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match="has no map of years to components"):
        run(cubes[6], other, first, workers, FIRST)
    AnnualMap(torch.zeros(3, 12, 4), torch.zeros(3), torch.ones(3)).save(other)
    with pytest.raises(InputError, match="holds something else: latents_hash"):
        run(cubes[6], other, first, workers, FIRST)


def test_a_window_begun_from_another_snapshot_is_finished_first(
    cubes: dict[int, Path], model: Path, workers: Client, tmp_path: Path
) -> None:
    cube = tiny_cube(tmp_path / "cube", side=SIDE, block=6, period=PERIOD)
    out, earlier = tmp_path / "out", Store.of(cube).snapshot()
    run(cube, model, out, workers, FIRST)
    session = Store.of(out).repository().writable_session(BRANCH)
    zarr.open_group(session.store, mode="r+")["state"][0, 1, 1] = 0  # as a kill leaves it
    session.commit("half done")
    changed = Store.of(cube).repository().writable_session(BRANCH)
    zarr.open_group(changed.store, mode="r+").attrs["note"] = "grown"
    changed.commit("grow")
    with pytest.raises(InputError, match=f'is not whole.*window="{FIRST}" at="{earlier}"'):
        run(cube, model, out, workers, SECOND)
    run(cube, model, out, workers, FIRST, at=earlier)
    run(cube, model, out, workers, SECOND)
    assert len(set(open_annual(out).cube_snapshot.values)) == 2


@pytest.mark.soak  # `embed` is killed in every run, by the same code
def test_a_run_killed_at_its_worst_moments_ends_with_the_same_bytes(
    cubes: dict[int, Path], model: Path, first: Path, workers: Client, tmp_path: Path,
    launcher: Launcher,
) -> None:  # fmt: skip
    both = tmp_path / "both"
    run(cubes[6], model, both, workers, FIRST)
    run(cubes[6], model, both, workers, SECOND)
    command = ("annual", str(cubes[6]), str(model), "--components", str(COMPONENTS))
    plan = Plan((*command, "--window", FIRST, "--out"), contents(first), 9)
    store = FilledStore(plan, launcher, tmp_path)
    killed = store.run(mishap=Mishap("after commit", "kill", nth=3))
    assert killed.code == -signal.SIGKILL, killed.output
    assert store.done() == 4
    assert store.run().code == 0
    assert store.is_whole()
    more = Plan((*command, "--window", SECOND, "--out"), contents(both), 18)
    grown = FilledStore(more, launcher, tmp_path / "more")
    grown.path.parent.mkdir()
    store.path.rename(grown.path)
    assert grown.run(mishap=Mishap("before commit", "kill")).code == -signal.SIGKILL
    same(contents(grown.path), contents(first))
    for nth in (1, 3):  # its windows are there, and nothing or some of their blocks
        ended = grown.run(mishap=Mishap("after commit", "kill", nth=nth))
        assert ended.code == -signal.SIGKILL, ended.output
    assert grown.run().code == 0
    same(contents(grown.path), contents(both))
