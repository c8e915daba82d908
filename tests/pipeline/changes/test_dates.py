"""Changes between two dates as a store: what is in it, from whatever it is made."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from distributed import Client
from scipy import stats

import terralatent as tl
from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import load_model
from terralatent.models.differences import latents_at_two, surfaces_at_two
from terralatent.pipeline.changes.index import SurfaceIndex
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.indices import index_of
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.made.models import awake_model
from tests.made.opened import Stores
from tests.made.tiny import tiny_cube
from tests.pipeline.changes.conftest import BLOCK, SIDE, Grown, brightened, clouded

A, B = "2017-10-15", "2018-02-01"
MADE = {"side": SIDE, "block": BLOCK, "sensors": ("sentinel-2-l2a",)}


@pytest.fixture(scope="module")
def moved(grown: Grown, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What latents moved by; not to be changed."""
    out = tmp_path_factory.mktemp("moved") / "moved"
    report = tl.changes(grown.newer, between=(A, B), out=out, client=workers)
    assert not report.losses
    return out


def joint(grown: Grown, first: str, last: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean and covariance of all pixels at once, by the model itself, and the days."""
    root, model = Store.of(grown.cube).group(), load_model(grown.model)
    whole = slice(0, SIDE)
    series = read_series(root, ["sentinel-2-l2a"], whole, whole)
    seen = series.series(np.arange(SIDE * SIDE))
    days = torch.from_numpy(days_since_1970(np.array([first, last], "datetime64[us]")))
    return (*latents_at_two(model, seen, days), days)


def test_the_store_has_what_the_model_says(moved: Path, grown: Grown) -> None:
    mean, covariance, _ = joint(grown, A, B)
    step = (mean[:, 1] - mean[:, 0]).numpy()
    variance = (
        covariance[..., 0, 0] + covariance[..., 1, 1] - covariance.sum((-2, -1))
        + covariance[..., 0, 0] + covariance[..., 1, 1]
    ).numpy()  # fmt: skip
    squared = (step**2 / variance).sum(1).reshape(SIDE, SIDE)[:, :-1]

    found = tl.open_changes(moved).isel(time=0).compute()

    inside = found.isel(x=slice(0, -1))
    np.testing.assert_allclose(inside["distance"] ** 2, squared, rtol=1e-3)
    p = stats.chi2(4).sf(inside["distance"].values.astype(float) ** 2)
    np.testing.assert_allclose(10.0 ** -inside["minus_log10_p"], p, rtol=1e-4)
    np.testing.assert_array_equal(inside["degrees"], 4)
    wanted = (step / np.sqrt(variance)).T.reshape(4, SIDE, SIDE)[..., :-1]
    np.testing.assert_allclose(inside["standardised"], wanted, atol=2.1e-3)
    marked = stats.false_discovery_control(10.0 ** -inside["minus_log10_p"].values) <= 0.05
    np.testing.assert_array_equal(inside["changed"] == 1, marked)
    assert str(found["time"].values)[:10] == B


def test_what_lies_outside_every_scene_has_nothing(moved: Path) -> None:
    outside = tl.open_changes(moved).isel(time=0, x=-1).compute()

    assert (outside["changed"] == 255).all()
    names = ("distance", "minus_log10_p", "degrees", "standardised", "expected_distance")
    assert all(bool(np.isnan(outside[name]).all()) for name in names)


def test_a_cube_gives_what_its_latents_give(
    moved: Path, grown: Grown, workers: Client, tmp_path: Path
) -> None:
    tl.changes(grown.cube, grown.model, between=(A, B), out=tmp_path / "own", client=workers)

    xr.testing.assert_equal(tl.open_changes(tmp_path / "own"), tl.open_changes(moved))


def test_two_tilings_are_one(moved: Path, grown: Grown, workers: Client, tmp_path: Path) -> None:
    other = tiny_cube(tmp_path / "cube", side=SIDE, block=5, sensors=("sentinel-2-l2a",))
    tl.changes(other, grown.model, between=(A, B), out=tmp_path / "own", client=workers)

    found, wanted = tl.open_changes(tmp_path / "own").load(), tl.open_changes(moved).load()
    np.testing.assert_array_equal(found["changed"], wanted["changed"])
    for name in ("distance", "minus_log10_p", "standardised", "expected_distance"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=4.1e-3)


def test_there_is_as_far_as_back(
    moved: Path, grown: Grown, workers: Client, tmp_path: Path
) -> None:
    tl.changes(grown.newer, between=(B, A), out=tmp_path / "back", client=workers)

    back, there = tl.open_changes(tmp_path / "back").load(), tl.open_changes(moved).load()
    np.testing.assert_allclose(back["distance"][0], there["distance"][0], rtol=1e-5)
    np.testing.assert_array_equal(back["changed"][0], there["changed"][0])
    np.testing.assert_allclose(back["standardised"][0], -there["standardised"][0], atol=1e-6)


def test_a_date_and_itself_differ_by_nothing(grown: Grown, workers: Client, tmp_path: Path) -> None:
    tl.changes(grown.newer, between=(A, A), out=tmp_path / "same", client=workers)

    inside = tl.open_changes(tmp_path / "same").isel(time=0, x=slice(0, -1))
    assert not inside["distance"].values.any()
    assert not inside["minus_log10_p"].values.any()
    assert (inside["changed"] == 0).all()  # which is known


def test_a_step_is_marked_and_another_rate_marks_anew_without_computing(
    grown: Grown, workers: Client, tmp_path: Path
) -> None:
    cube = brightened(tiny_cube(tmp_path / "cube", **MADE), 12, 9)
    out, given = tmp_path / "out", {"model": grown.model, "between": (A, B), "client": workers}
    first = tl.changes(cube, out=out, rate=0.05, **given)
    wide = tl.changes(cube, out=out, rate=0.9, **given)
    again = tl.changes(cube, out=out, rate=0.05, **given)

    assert (first.map.computed, wide.map.computed) == (4, 0)
    assert wide.marked[0].changed > first.marked[0].changed
    steps = tl.open_changes(out).isel(time=0)["changed"] == 1
    np.testing.assert_array_equal(steps, np.broadcast_to(np.arange(SIDE) < 9, (SIDE, SIDE)))
    assert again.marked == first.marked
    snapshot = Store.of(out).snapshot()
    tl.changes(cube, out=out, rate=0.05, **given)
    assert Store.of(out).snapshot() == snapshot  # nothing is written where nothing differs


def test_far_from_what_was_seen_too_little_is_known(
    grown: Grown, workers: Client, tmp_path: Path
) -> None:
    report = tl.changes(
        grown.newer, between=(A, "2021-02-01"), out=tmp_path / "far", client=workers
    )

    assert report.marked[0].not_known == SIDE * (SIDE - 1)


def test_an_index_moves_by_what_decoded_bands_say(
    grown: Grown, workers: Client, tmp_path: Path
) -> None:
    """NDWI of green and near infrared, which the made-up sensor calls B03 and B04."""
    mean, covariance, days = joint(grown, A, B)
    model = load_model(grown.model)
    surface, spread = surfaces_at_two(model, "sentinel-2-l2a", mean, covariance, days, [1, 2])
    found = SurfaceIndex("ndwi", "sentinel-2-l2a", (1, 2)).moved(surface.numpy(), spread.numpy())

    bands = xr.DataArray(surface.numpy(), dims=("pixel", "time", "band")).assign_coords(
        band=["B03", "B08"]
    )
    value = index_of(bands, "ndwi", "sentinel-2-l2a").values
    np.testing.assert_allclose(found.parts["difference"], value[:, 1] - value[:, 0], atol=1e-12)
    drawn = np.random.default_rng(0).normal(size=(40_000, 4))
    for pixel in range(3):
        narrow = 1e-3 * spread[pixel].numpy()  # of first order: small beside the denominator
        flat = surface[pixel].numpy().ravel() + drawn @ np.linalg.cholesky(narrow).T
        some = (flat[:, ::2] - flat[:, 1::2]) / (flat[:, ::2] + flat[:, 1::2])
        std = 1e3**0.5 * np.std(some[:, 1] - some[:, 0])
        np.testing.assert_allclose(found.parts["difference_std"][pixel], std, rtol=0.02)


def test_masked_observations_change_nothing(grown: Grown, workers: Client, tmp_path: Path) -> None:
    """A cube without an acquisition that is all cloud gives what the one with it does."""
    results = []
    for name, bright in (("dark", 1.0), ("bright", 1.3)):  # what lies under clouds is not read
        cube = clouded(tiny_cube(tmp_path / name, **MADE), 12)
        store = Store.of(cube)
        session = store.repository().writable_session(BRANCH)
        data = zarr.open_group(session.store, mode="r+")["sentinel-2-l2a/data"]
        hidden = np.asarray(data[12:])
        data[12:] = np.where(hidden == 0, 0, hidden * bright).astype(hidden.dtype)
        if bright != 1.0:
            store.commit(session, "brighter clouds")
        tl.changes(cube, grown.model, between=(A, B), out=tmp_path / f"{name}-out", client=workers)
        results.append(tl.open_changes(tmp_path / f"{name}-out").load())

    xr.testing.assert_equal(results[0], results[1])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"between": ("2018-13-01", B)}, "neither a date.*nor a snapshot"),
        ({"between": ("nothing", "at-all")}, "'nothing' and 'at-all'"),
        ({"between": (A,)}, "two dates or two runs, not 1"),
        ({"between": ("2018", B)}, "is many days"),
        ({"between": (A, B), "rate": 5.0}, "between 0 and 1"),
        ({"between": (A, B), "index": "greenness"}, "There is no index 'greenness'"),
        ({"between": (A, B), "index": "ndre"}, "sentinel-2-l2a: NDRE is made of"),
        ({"between": (A, B), "sensor": "sentinel-2-l2a"}, "sensor= is of an index"),
        ({"between": (A, B), "date": A}, "date= chooses of the dates of two runs"),
        ({"between": (A, B), "at": "ABCD"}, "leave at= and masking= out"),
    ],
)
def test_what_cannot_be_is_refused(
    given: dict[str, object], words: str, grown: Grown, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        tl.changes(grown.newer, out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_a_map_and_a_lost_cube_are_refused(moved: Path, grown: Grown, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="latents or a cube are wanted"):
        tl.changes(moved, between=(A, B), out=tmp_path / "out")
    shutil.copytree(grown.newer, tmp_path / "alone" / "latents")
    with pytest.raises(InputError, match=r"cube .* cannot be found \(it was at"):
        tl.changes(tmp_path / "alone" / "latents", between=(A, B), out=tmp_path / "out")


def test_another_model_than_that_of_the_latents_is_refused(grown: Grown, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    other = awake_model(grown.cube, tmp_path / "own", seed=9)

    with pytest.raises(InputError, match="made by another model"):
        tl.changes(grown.newer, other, between=(A, B), out=tmp_path / "out")


def test_it_is_shown_exported_and_known(moved: Path, tmp_path: Path) -> None:
    assert tl.show(moved, tmp_path / "map.png").stat().st_size > 10_000
    for variable in ("changed", "distance", "2", "expected_distance"):
        tl.show(moved, tmp_path / "one.png", variable=variable)
    with pytest.raises(InputError, match="There is no 'mean' here; there are changed, distance"):
        tl.show(moved, variable="mean")
    with pytest.raises(InputError, match="leave sensor and pixel out"):
        tl.show(moved, pixel="3,3")
    folder = tl.export(moved, tmp_path / "cog", format="cog")
    names = {file.name.split("_")[0].removesuffix(".tif") for file in folder.rglob("*.tif")}
    assert any(name.startswith("changed") for name in names)
    assert tl.status(moved).kind == "changes"
    with pytest.raises(InputError, match="view"):
        tl.open_changes(moved).terralatent.view()
    summary = repr(tl.open_changes(moved).terralatent)
    assert "a map of changes" in summary


def test_what_the_tests_have_of_every_kind_gives_changes(
    stores: Stores, workers: Client, tmp_path: Path
) -> None:
    report = tl.changes(
        stores["latents"], between=("2017-09", "2018-03"), out=tmp_path / "out", client=workers
    )
    assert str(report).startswith("4 of 4 blocks")
