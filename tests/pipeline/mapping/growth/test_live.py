"""From filter states an acquisition that came costs a step, and gives what a full run gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.models.checkpoint import load_model, save_model
from terralatent.models.gpvae import GPVAE
from terralatent.pipeline import Masking, build_cube, embed, open_latents
from terralatent.pipeline.mapping.results.report import ResultReport
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import SIDE, add_sentinel_1, region
from tests.made.models import made_up_model
from tests.pipeline.mapping.growth.conftest import LATE, NEW, Grow, without

DATES = "2018-03-05,2018-03-10,2018-03-15,2018-03-20,2018-04-10"


def run(place: Path, out: str, workers: Client, dates: str = DATES, **options: object
        ) -> ResultReport:  # fmt: skip
    report = embed(
        place / "cube", place / "model", place / out, dates=dates, client=workers,
        precision="float32", **options,  # type: ignore[call-overload]
    )  # fmt: skip
    assert isinstance(report, ResultReport)
    return report


def stale(out: Path) -> np.ndarray:
    return np.asarray(Store.of(out).group()["stale"])


def alike(live: xr.Dataset, fresh: xr.Dataset, dates: Sequence[int] | slice = slice(None)) -> None:
    """The wanted 1e-4 of a standard deviation, and rounding beside it."""
    for name in ("mean", "std"):
        a, b = (own[name].isel(time=dates).values for own in (live, fresh))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * float(fresh["std"].min()))
    for name in ("days_to_observation",):
        a, b = (own[name].isel(time=dates).values for own in (live, fresh))
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(live["observations"].values, fresh["observations"].values)


def test_a_new_acquisition_costs_a_step(place: Path, grow: Grow, workers: Client) -> None:
    run(place, "live", workers, live=True)
    run(place, "plain", workers)
    alike(open_latents(place / "live"), open_latents(place / "plain"))
    before = open_latents(place / "live").load()
    grow(place / "cube", [LATE])

    report = run(place, "live", workers, live=True)

    assert (report.computed, report.same) == (6, 3), report.losses
    run(place, "fresh", workers)
    live, fresh = open_latents(place / "live").load(), open_latents(place / "fresh").load()
    alike(live, fresh, slice(2, None))
    marked = stale(place / "live")
    assert marked[:2, :, 1:].all()
    assert not marked[2:].any()
    assert not marked[:, :, 0].any()
    kept = live["mean"].values[:2] == before["mean"].values[:2]
    assert (kept | np.isnan(live["mean"].values[:2])).all()

    run(place, "live", workers)
    assert not stale(place / "live").any()
    alike(open_latents(place / "live").load(), fresh)


@pytest.mark.parametrize(
    ("missing", "again", "blocks"),
    [
        pytest.param([], False, 9, id="late and new"),
        pytest.param([NEW], False, 3, id="late alone", marks=pytest.mark.soak),
        pytest.param([LATE, NEW], True, 9, id="processed anew", marks=pytest.mark.soak),
    ],
)
def test_a_late_or_replaced_scene_is_replayed(
    place: Path, grow: Grow, workers: Client, missing: list[str], again: bool, blocks: int
) -> None:
    run(place, "live", workers, live=True)
    grow(place / "cube", missing, again=again)
    report = run(place, "live", workers, live=True)
    assert report.computed == blocks
    run(place, "fresh", workers)
    live, fresh = (open_latents(place / out).load() for out in ("live", "fresh"))
    current = ~stale(place / "live").any(axis=(1, 2))
    alike(live, fresh, np.flatnonzero(current).tolist())


def test_packed_values_are_a_step_apart_at_most(place: Path, grow: Grow, workers: Client) -> None:
    options = {"dates": "2018-03-05,2018-03-20", "client": workers}
    embed(place / "cube", place / "model", place / "live", live=True, **options)
    grow(place / "cube", [LATE])
    embed(place / "cube", place / "model", place / "live", live=True, **options)
    embed(place / "cube", place / "model", place / "fresh", **options)
    for name in ("mean", "std"):
        a, b = (np.asarray(Store.of(place / o).group()[name][1]) for o in ("live", "fresh"))
        apart = np.abs(a.astype(int) - b.astype(int))
        assert apart.max() <= 1
        assert (apart > 0).mean() < 0.01


@pytest.mark.soak
def test_dates_that_came_are_forecast(place: Path, grow: Grow, workers: Client) -> None:
    """In blocks that nothing new sees, too."""
    run(place, "live", workers, "2018-03-05,2018-03-15", live=True)
    grow(place / "cube", [LATE])
    longer = "2018-03-05,2018-03-15,2018-03-20,2018-04-20"
    run(place, "live", workers, longer, live=True)
    run(place, "fresh", workers, longer)
    alike(*(open_latents(place / out).load() for out in ("live", "fresh")), [2, 3])


@pytest.mark.soak
def test_states_fall_no_further_behind_than_is_said(workers: Client, tmp_path: Path) -> None:
    """Radar every 12 days for ten months, in parts: filtered on from states, each time as at once,
    which are moved on by and by."""
    folder, rng = tmp_path / "archive", np.random.default_rng(11)
    for n in range(26):
        power = {
            band: rng.gamma(2.0, 0.05, (SIDE // 2, SIDE // 2)).astype(np.float32)
            for band in ("vv", "vh")
        }
        day = np.datetime64("2018-03-01") + 12 * n
        add_sentinel_1(folder, f"{day}T17:30:00Z", power, name=f"R{n:02d}")
    every = search_scenes(folder, region(), "2018-03-01", "2019-01-31")
    dates = ",".join(str(np.datetime64("2018-03-15") + 40 * n) for n in range(8))
    kept = {}
    for count in (2, 7, 11, 12, 18, 23, 26):
        later = [f"R{n:02d}" for n in range(count, 26)]
        build_cube(without(every, *later), region(), tmp_path / "cube", block=64, client=workers)
        if count == 2:
            made_up_model(tmp_path / "cube", tmp_path / "model")
        run(tmp_path, "live", workers, dates, live=True)
        fresh = f"fresh-{count}"
        run(tmp_path, fresh, workers, dates)
        current = np.flatnonzero(~stale(tmp_path / "live").any(axis=(1, 2))).tolist()
        assert 7 in current
        alike(*(open_latents(tmp_path / out).load() for out in ("live", fresh)), current)
        days = np.asarray(Store.of(tmp_path / "live").group()["live/day"]).ravel()
        end = (np.datetime64("2018-03-01") + 12 * (count - 1) - np.datetime64("1970-01-01")).astype(
            int
        )
        kept[count] = end - np.floor(days)
    assert kept[2][0] == 0
    assert np.isnan(kept[2][1:]).all()
    for lags in (kept[count] for count in (18, 23, 26)):
        assert lags[0] == 0
        assert 30 <= lags[1] <= 45
        assert 90 <= lags[2] <= 135


def test_what_has_no_state_is_refused(place: Path, workers: Client) -> None:
    with pytest.raises(InputError, match="give out="):
        embed(place / "cube", place / "model", dates=DATES, live=True)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="judged by acquisitions that come later"):
        run(place, "live", workers, live=True, masking={"sentinel-2-l2a": Masking(outliers=True)})
    other = place / "other"
    config = load_model(place / "model").config
    for change, words in (
        ({"refinements": 1}, "has refinements"),
        ({"posterior": "exact"}, "with a exact posterior, which has no filter state"),
    ):
        save_model(GPVAE(config.model_copy(update=change)), other, {})
        with pytest.raises(InputError, match=words):
            embed(place / "cube", other, place / "live", dates=DATES, live=True, client=workers)
    assert not (place / "live").exists()


def test_a_late_scene_does_not_count_twice_in_a_state_that_is_moved(
    workers: Client, tmp_path: Path
) -> None:
    """It is replayed from the state of 30 days before, which has fallen too far behind by then."""
    folder, rng = tmp_path / "archive", np.random.default_rng(12)
    for n in range(9):
        power = {
            band: rng.gamma(2.0, 0.05, (SIDE // 2, SIDE // 2)).astype(np.float32)
            for band in ("vv", "vh")
        }
        day = np.datetime64("2018-03-01") + 12 * n
        add_sentinel_1(folder, f"{day}T17:30:00Z", power, name=f"R{n}")
    every = search_scenes(folder, region(), "2018-03-01", "2018-06-30")
    for missing in (("R5", "R7", "R8"), ()):
        build_cube(without(every, *missing), region(), tmp_path / "cube", block=64, client=workers)
        if missing:
            made_up_model(tmp_path / "cube", tmp_path / "model")
        run(tmp_path, "live", workers, "2018-03-05,2018-06-15", live=True)
    run(tmp_path, "fresh", workers, "2018-03-05,2018-06-15", live=True)
    live, fresh = (Store.of(tmp_path / out).group()["live"] for out in ("live", "fresh"))
    # The series was too short for a state of 90 days before, which is not made by a step.
    np.testing.assert_array_equal(live["day"][:2], fresh["day"][:2])
    for name in ("moments", "last"):
        a, b = (np.asarray(group[name][:2]) for group in (live, fresh))
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
