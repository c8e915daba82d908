"""Laws of robust refinement: what the others do not bear out counts less, and only that."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations
from terralatent.models.refinement import agreement

DATES = 24
BAD = 11


def model(refinements: int = 1, likelihood: str = "student") -> GPVAE:
    """A sensor whose three bands are read off three latents, with little noise."""
    sensor = SensorConfig(
        name="optical", bands=("a", "b", "c"), units="1", centre=(0.0,) * 3, spread=(1.0,) * 3
    )
    config = {"sensors": (sensor,), "latents": 3, "hidden": 8}
    made = GPVAE(
        ModelConfig.model_validate({**config, "refinements": refinements, "likelihood": likelihood})
    )
    its = made.sensor("optical")
    eye = torch.eye(3)
    its.encoder.set_linear(eye, torch.full((3,), -1.4), eye)
    its.decoder.set_linear(torch.zeros(3), eye, torch.full((3,), -3.0), torch.zeros(3, 2))
    return made.eval()


def series(pixels: int = 5) -> Observations:
    """Smooth series of three bands, six days apart."""
    days = 17_000.0 + 6.0 * torch.arange(DATES, dtype=torch.float64)
    phase = torch.arange(pixels)[:, None] + days.float()[None] / 60.0
    values = torch.stack([phase.sin(), phase.cos(), (0.5 * phase).sin()], dim=-1)
    return Observations(
        days=days,
        values=values,
        valid=torch.ones(pixels, DATES, 3, dtype=torch.bool),
        distance=torch.full((pixels, DATES), 16.0),
        incidence=torch.full((DATES,), torch.nan),
    )


def spoilt(clean: Observations, by: float) -> Observations:
    values = clean.values.clone()
    values[:, BAD] += by
    return Observations(clean.days, values, clean.valid, clean.distance, clean.incidence)


def bend(made: GPVAE, by: float) -> float:
    """By how much the latents of all other days move when one date is off."""
    clean = series()
    days = clean.days[torch.arange(DATES) != BAD]
    there, _ = made.infer({"optical": clean}, days)
    moved, _ = made.infer({"optical": spoilt(clean, by)}, days)
    return float((moved - there).abs().max())


def test_a_date_that_disagrees_bends_the_others_less_with_refinement() -> None:
    assert bend(model(1), 3.0) < 0.3 * bend(model(0), 3.0)


def test_what_one_date_can_do_is_bounded() -> None:
    # One round is not quite enough: the bad date is still in the cavity of its neighbours.
    assert bend(model(1), 30.0) < 3.0 * bend(model(1), 3.0)
    assert bend(model(2), 30.0) < bend(model(1), 30.0)
    assert bend(model(2), 3000.0) < bend(model(1), 3.0)


def test_without_refinement_it_bends_in_proportion() -> None:
    assert bend(model(0), 6.0) == pytest.approx(2.0 * bend(model(0), 3.0), rel=1e-3)


def test_a_gaussian_model_refines_nothing() -> None:
    assert bend(model(1, "gaussian"), 3.0) == pytest.approx(bend(model(0), 3.0), rel=1e-5)


def test_what_is_masked_changes_nothing_and_stays_masked() -> None:
    made, clean = model(2), series()
    hidden = torch.arange(DATES) == BAD
    without = made.infer({"optical": clean.hide(hidden)}, clean.days)
    wild = made.infer({"optical": spoilt(clean, 1e6).hide(hidden)}, clean.days)
    for one, other in zip(without, wild, strict=True):
        assert torch.equal(one, other)
    sites = made.sites({"optical": clean.hide(hidden)})
    assert bool((sites.w[:, hidden] == 0.0).all())
    assert bool((sites.eta[:, hidden] == 0.0).all())


def test_other_pixels_change_nothing() -> None:
    made, clean = model(1), spoilt(series(), 2.0)
    whole, _ = made.infer({"optical": clean}, clean.days)
    alone, _ = made.infer({"optical": clean.select(slice(2, 3))}, clean.days)
    torch.testing.assert_close(whole[2:3], alone, atol=1e-6, rtol=0.0)


def test_the_factor_is_that_of_a_student_t_on_the_leave_one_out_prediction() -> None:
    made, clean = model(0), spoilt(series(), 1.0)
    observations = {"optical": clean}
    sites = made.encode(observations)
    found = made.inference.infer(made.kernel, sites.days, sites.w, sites.eta)
    sensors = {"optical": made.sensor("optical")}
    with torch.no_grad():
        factor = agreement(sites, found.mean, found.var, observations, sensors)
    for date in (0, BAD, DATES - 1):
        wanted = by_leaving_out(made, clean, date)
        torch.testing.assert_close(factor[:, date], wanted, rtol=2e-3, atol=1e-4)


def by_leaving_out(made: GPVAE, observations: Observations, date: int) -> Tensor:
    """The factor of one date, from a posterior that never saw it."""
    hidden = torch.arange(DATES) == date
    mean, var = made.infer({"optical": observations.hide(hidden)}, observations.days[[date]])
    sensor = made.sensor("optical")
    with torch.no_grad():
        dof = sensor.likelihood.dof  # type: ignore[union-attr]
        scale = sensor.decoder.log_diag.exp() + var[:, 0]
        distance = ((observations.values[:, date] - mean[:, 0]).square() / scale).sum(-1)
        return (dof + 3.0) / (dof + distance)


def test_gradients_reach_the_encoder_and_are_finite() -> None:
    made, clean = model(1).train(), spoilt(series(), 3.0)
    bound = made.elbo({"optical": clean}, {"optical": clean}, torch.Generator().manual_seed(0))
    (-bound.elbo.sum()).backward()
    gradients = [each.grad for each in made.parameters() if each.grad is not None]
    assert all(bool(torch.isfinite(each).all()) for each in gradients)
    assert float(made.sensor("optical").encoder.linear.grad.abs().sum()) > 0.0  # type: ignore[union-attr]
