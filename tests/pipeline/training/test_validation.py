"""What training keeps: no group of bands is predicted worse than at its start."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from terralatent.models.config import SensorConfig
from terralatent.pipeline.training.loop import Schedule, _judge, _Prior
from terralatent.pipeline.training.state import TrainingState, copy_tensors
from terralatent.pipeline.training.validation import GROUP_TOLERANCE, Score, band_groups

START = {"visible": 1.0, "near infrared": 1.0}


class Line(nn.Module):
    """One weight, 0 at the start and 1 where training stands."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


class Judge:
    """A validation where the density grows with the weight, and so does one group's error."""

    def __init__(self, slope: float) -> None:
        self.slope = slope
        self.tried: list[float] = []

    def score(self, model: Line) -> Score:
        at = float(model.weight.detach())
        self.tried.append(at)
        groups = {"visible": 1.0 - at, "near infrared": 1.0 + self.slope * at}
        return Score(at, {}, {}, groups=groups)


def judged(slope: float) -> tuple[TrainingState, Judge, dict[str, Any], Line]:
    start = {"weight": torch.zeros(1)}
    state = TrainingState({}, 0.0, start, start, step=4, best_score=0.0, start_groups=dict(START))
    judge, model = Judge(slope), Line()
    entry = _judge(model, judge, Schedule(8, 2, 6), state)  # type: ignore[arg-type]
    return state, judge, dict(entry), model


def test_weights_that_lose_in_no_group_are_kept_whole() -> None:
    state, judge, entry, _ = judged(GROUP_TOLERANCE)
    assert judge.tried == [1.0]
    assert (state.best_step, state.best_share, state.best["weight"].item()) == (4, 1.0, 1.0)
    assert "loses" not in entry
    assert "kept" not in entry


def test_weights_that_lose_in_a_group_are_kept_as_far_as_they_do_not() -> None:
    state, judge, entry, model = judged(3.0 * GROUP_TOLERANCE)
    assert judge.tried == [1.0, 0.5, 0.25]
    assert (state.best_step, state.best_share, state.best["weight"].item()) == (4, 0.25, 0.25)
    assert state.best_score == 0.25
    assert entry["loses"]
    assert entry["kept"]["share"] == 0.25
    assert model.weight.item() == 1.0  # training goes on from where it stands


def test_weights_that_lose_however_near_the_start_leave_it() -> None:
    state, _, entry, model = judged(20.0 * GROUP_TOLERANCE)
    assert (state.best_step, state.stale, state.best["weight"].item()) == (0, 1, 0.0)
    assert "kept" not in entry
    assert model.weight.item() == 1.0


def test_a_group_that_the_start_had_not_is_not_judged() -> None:
    score = Score(0.0, {}, {}, groups={"radar": 9.0, "visible": 1.0})
    assert not score.loses({})
    assert not score.loses({"visible": 1.0, "short-wave infrared": 0.1})
    assert score.loses({"radar": 8.0})


@pytest.mark.parametrize(
    ("name", "bands", "units", "groups"),
    [
        ("sentinel-2-l2a", ("B02", "B05", "B8A", "B11"), "1", "visible, near infrared, near "
         "infrared, short-wave infrared"),
        ("landsat-c2-l2", ("B04", "B05", "B07"), "1", "visible, near infrared, short-wave "
         "infrared"),
        ("sentinel-1-desc", ("vv", "vh"), "dB", "radar, radar"),
        ("my-camera", ("red", "nir", "haze"), "1", "visible, near infrared, my-camera"),
    ],
)  # fmt: skip
def test_bands_are_judged_with_their_like(
    name: str, bands: tuple[str, ...], units: str, groups: str
) -> None:
    zero, one = (0.0,) * len(bands), (1.0,) * len(bands)
    sensor = SensorConfig(name=name, bands=bands, units=units, centre=zero, spread=one)
    assert ", ".join(band_groups(sensor)) == groups


def test_the_prior_of_the_weights_is_half_a_squared_distance() -> None:
    model = Line()
    centre = copy_tensors({"weight": torch.full((1,), -1.0)})
    cost = torch.as_tensor(_Prior(model, Schedule(8, 2, 6, prior=0.1), centre).cost())  # type: ignore[arg-type]
    assert float(cost.detach()) == pytest.approx(0.5 * 0.1 * 4.0)
    assert _Prior(model, Schedule(8, 2, 6), None).cost() == 0.0  # type: ignore[arg-type]
