"""From filter states an acquisition that came costs a step, and gives what a full run gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from terralatent.pipeline import embed, open_latents
from terralatent.pipeline.mapping.results.report import ResultReport
from terralatent.pipeline.store.repository import Store
from tests.pipeline.mapping.growth.conftest import LATE, NEW, Grow

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


@pytest.mark.parametrize("late", [[], [NEW]], ids=["both", "late alone"])
def test_a_late_scene_is_replayed(
    place: Path, grow: Grow, workers: Client, late: list[str]
) -> None:
    run(place, "live", workers, live=True)
    grow(place / "cube", late)
    report = run(place, "live", workers, live=True)
    assert report.computed == (9 if not late else 3)
    run(place, "fresh", workers)
    live, fresh = (open_latents(place / out).load() for out in ("live", "fresh"))
    current = ~stale(place / "live").any(axis=(1, 2))
    alike(live, fresh, np.flatnonzero(current).tolist())
