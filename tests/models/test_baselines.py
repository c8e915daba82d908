"""The learned baselines: what holds for every VAE of pixel series, whatever family it is of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import load_model, model_hash, read_manifest, save_model
from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.families import MODELS, find_family, make_model
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.pipeline.cli.pages.status import status_page
from terralatent.pipeline.info.status import status
from terralatent.pipeline.mapping.decode import decode
from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.mapping.opened import open_bands, open_latents
from terralatent.pipeline.training.train import train
from tests.made.rough import make_rough
from tests.made.tiny import FIRST_DAY, SENSORS, tiny_cube, tiny_pixels

LEARNED = ("vae", "series", "mtan", "hetvae", "transformer")
S1, S2 = "sentinel-1-asc", "sentinel-2-l2a"
QUERIES = FIRST_DAY + torch.tensor([40.3, -700.0, 900.0, 12.0, 12.0], dtype=torch.float64)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def described(name: str, sensors: tuple[str, ...] = (S2, S1)) -> ModelConfig:
    bands = {sensor: tuple(f"B{band}" for band in range(SENSORS[sensor][0])) for sensor in sensors}
    return ModelConfig(
        model=name,
        latents=4,
        hidden=16,
        sensors=tuple(
            SensorConfig(
                name=sensor,
                bands=bands[sensor],
                units="1" if sensor == S2 else "dB",
                centre=(0.25,) * len(bands[sensor]),
                spread=(0.05,) * len(bands[sensor]),
            )
            for sensor in sensors
        ),
    )


@pytest.fixture(scope="module", params=LEARNED)
def model(request: pytest.FixtureRequest) -> LatentModel:
    """A started model; not to be changed."""
    made = make_model(described(request.param))
    made.start([tiny_pixels(200)])
    return made.eval()


def same(got: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, **CLOSE)


def without(observations: Observations) -> Observations:
    """The same days, nothing seen, and rubbish under the mask."""
    blank = torch.zeros_like(observations.valid)
    return replace(observations, values=observations.values * torch.nan, valid=blank)


def test_what_is_under_the_mask_changes_nothing(model: LatentModel) -> None:
    seen = tiny_pixels(6)
    seen[S2] = seen[S2].hide(torch.arange(24) % 3 == 0)
    other = dict(seen)
    noise = torch.full_like(seen[S2].values, 1e30)
    other[S2] = replace(seen[S2], values=torch.where(seen[S2].valid, seen[S2].values, noise))
    other[S1] = seen[S1]
    same(model.infer(other, QUERIES), model.infer(seen, QUERIES))


def test_a_date_that_nobody_saw_may_as_well_not_be_there(model: LatentModel) -> None:
    whole = tiny_pixels(6)
    dark = torch.arange(24) % 4 == 1
    masked = {**whole, S2: whole[S2].hide(dark)}
    removed = {**whole, S2: whole[S2].at(~dark)}
    same(model.infer(masked, QUERIES), model.infer(removed, QUERIES))


def test_a_masked_sensor_is_an_absent_one_and_order_means_nothing(model: LatentModel) -> None:
    whole = tiny_pixels(6)
    alone = model.infer({S2: whole[S2]}, QUERIES)
    same(model.infer({S2: whole[S2], S1: without(whole[S1])}, QUERIES), alone)
    same(
        model.infer({S1: whole[S1], S2: whole[S2]}, QUERIES),
        model.infer({S2: whole[S2], S1: whole[S1]}, QUERIES),
    )


@pytest.mark.parametrize("name", LEARNED[1:])
def test_a_model_without_seasons_reads_the_same_at_any_time_of_year(name: str) -> None:
    seen = tiny_pixels(6)
    later = {name: replace(series, days=series.days + 100.0) for name, series in seen.items()}
    for season in (False, True):
        made: Any = make_model(described(name).model_copy(update={"season": season})).eval()
        sensors = {name: made.sensor(name) for name in seen}
        values = made.reader(sensors, seen).values, made.reader(sensors, later).values
        assert torch.equal(*values) is not season


def test_pixels_know_nothing_of_each_other(model: LatentModel) -> None:
    whole = tiny_pixels(6)
    some = {name: series.select(slice(2, 4)) for name, series in whole.items()}
    mean, var = model.infer(whole, QUERIES)
    same(model.infer(some, QUERIES), (mean[2:4], var[2:4]))


def test_queries_are_answered_one_by_one(model: LatentModel) -> None:
    seen = tiny_pixels(3)
    mean, var = model.infer(seen, QUERIES)
    assert mean.shape == var.shape == (3, 5, 4)
    assert mean.dtype == var.dtype == torch.float32
    order = torch.tensor([2, 0, 4, 1, 3])
    same(model.infer(seen, QUERIES[order]), (mean[:, order], var[:, order]))
    same((mean[:, 3], var[:, 3]), (mean[:, 4], var[:, 4]))
    assert bool((var > 0).all())


def test_a_series_without_observations_is_finite(model: LatentModel) -> None:
    seen = {name: without(series) for name, series in tiny_pixels(3).items()}
    mean, var = model.infer(seen, QUERIES)
    assert bool(mean.isfinite().all() & var.isfinite().all() & (var > 0).all())
    torch.testing.assert_close(mean, mean[:1].expand_as(mean), **CLOSE)
    if model.config.model in ("vae", "series"):  # they have a prior at every day
        same((mean, var), (torch.zeros_like(mean), torch.ones_like(var)))
    none = {S2: seen[S2].at(slice(0, 0))}
    same(model.infer(none, QUERIES), (mean, var))


def test_the_bound_is_finite_with_its_gradients(model: LatentModel) -> None:
    counted = tiny_pixels(5)
    counted[S2] = replace(
        counted[S2], valid=counted[S2].valid & (torch.arange(5) > 0)[:, None, None]
    )
    seen = {S2: counted[S2].hide(torch.arange(24) > 11), S1: without(counted[S1])}
    parts = model.elbo(seen, counted, torch.Generator().manual_seed(1))
    assert bool((parts.kl >= 0).all())
    torch.testing.assert_close(parts.elbo, parts.loglik - parts.kl)
    parts.elbo.sum().backward()
    grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert grads
    assert all(bool(grad.isfinite().all()) for grad in grads)
    model.zero_grad(set_to_none=True)


def test_marginals_are_what_is_inferred_on_the_days_of_all_sensors(model: LatentModel) -> None:
    whole = tiny_pixels(4)
    got = model.marginals({S2: whole[S2]}, {S1: whole[S1].days, S2: whole[S2].days})
    for name, place in got.places.items():
        mean, var = model.infer({S2: whole[S2]}, whole[name].days)
        same((got.mean[:, place].detach(), got.var[:, place].detach()), (mean, var))


def test_a_model_that_was_saved_says_the_same(model: LatentModel, tmp_path: Path) -> None:
    saved = save_model(model, tmp_path, {})
    read = load_model(tmp_path)
    assert type(read) is type(model)
    assert saved == model_hash(tmp_path)
    assert read_manifest(tmp_path)["kernel_days"] == {}
    for one, other in zip(
        read.infer(tiny_pixels(3), QUERIES), model.infer(tiny_pixels(3), QUERIES), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", LEARNED)
def test_a_few_steps_raise_the_bound(name: str) -> None:
    made = make_model(described(name))
    made.start([tiny_pixels(200)])
    assert made.rate is not None
    optimiser = torch.optim.Adam(made.parameters(), lr=made.rate)
    data = tiny_pixels(64)

    def bound() -> Tensor:
        return made.elbo(data, data, torch.Generator().manual_seed(3)).elbo.mean()

    before = float(bound().detach())
    for _ in range(15):
        optimiser.zero_grad()
        (-bound()).backward()
        optimiser.step()
    assert float(bound().detach()) > before + 1.0


@pytest.mark.parametrize("name", LEARNED)
def test_a_start_makes_the_first_guess_better_than_none(name: str) -> None:
    data = tiny_pixels(64, seed=5)
    hidden = {S2: data[S2].hide(torch.arange(24) % 4 != 2)}
    seen = {**data, S2: data[S2].hide(torch.arange(24) % 4 == 2)}
    made = make_model(described(name))
    random = made.log_predictive(seen, hidden)[S2].log_density.sum()
    made.start([tiny_pixels(200)])
    assert made.log_predictive(seen, hidden)[S2].log_density.sum() > random


def test_a_day_of_its_own_is_the_product_of_what_sensors_say_of_it() -> None:
    made = make_model(described("vae"))
    made.start([tiny_pixels(200)])
    whole = tiny_pixels(4)
    days = whole[S2].days[:1]
    both = {}
    for name, hour in ((S2, 0.2), (S1, 0.7)):
        seen = whole[name].at(slice(0, 1))
        valid, values = torch.ones_like(seen.valid), torch.full_like(seen.values, 0.3)
        both[name] = replace(seen, days=days + hour, valid=valid, values=values)
    mean, var = made.infer(both, days + 0.5)
    alone = [made.infer({name: seen}, days) for name, seen in both.items()]
    precision = sum(1.0 / var for _, var in alone) - 1.0  # type: ignore[misc]
    torch.testing.assert_close(1.0 / var, precision)
    torch.testing.assert_close(mean * precision, sum(m / v for m, v in alone))
    nowhere = made.infer(both, days + 1.1)
    same(nowhere, (torch.zeros_like(mean), torch.ones_like(var)))


def test_every_learned_baseline_carries_only_what_it_uses(model: LatentModel) -> None:
    counted = tiny_pixels(5)
    model.elbo(counted, counted, torch.Generator().manual_seed(1)).elbo.sum().backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None]
    model.zero_grad(set_to_none=True)
    assert not idle


def test_families_are_found_by_name() -> None:
    assert {find_family(name).__name__ for name in ("gpvae", *LEARNED)} == {
        MODELS[name][1] for name in ("gpvae", *LEARNED)
    }
    with pytest.raises(ValueError, match="no model is called 'oracle'; there are gpvae, vae"):
        find_family("oracle")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny cube, and an mTAN-VAE trained on it; not to be changed."""
    folder = tmp_path_factory.mktemp("mtan")
    cube = tiny_cube(folder / "cube", side=16, block=16)
    few = {"latents": 3, "steps": 4, "batch": 16, "validate_every": 2, "device": "cpu"}
    with pytest.MonkeyPatch.context() as patch:
        make_rough(patch.setattr)
        report = train(cube, folder / "model", model="mtan", **few)
    assert report.steps == 4
    return cube, folder / "model"


def test_another_family_goes_through_every_verb(
    trained: tuple[Path, Path], workers: object, tmp_path: Path
) -> None:
    cube, model = trained
    embed(cube, model, tmp_path / "latents", dates="2017-09-01,2018-01-15", client=workers)
    decode(cube, model, S2, "2017-09-01", tmp_path / "bands", client=workers)
    means = open_latents(tmp_path / "latents")["mean"].values
    assert means.shape == (2, 3, 16, 16)
    assert np.isfinite(means[..., :-1]).all()
    assert any(
        bool(np.isfinite(bands.values).any()) for bands in open_bands(tmp_path / "bands").values()
    )
    reported = status(model)
    page = json.loads(json.dumps(reported.to_json()))
    assert "mtan" in json.dumps(page)
    assert status_page(reported) is not None
    assert load_model(model).config.model == "mtan"


def test_what_only_the_gpvae_can_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    cube, model = trained
    with pytest.raises(InputError, match="is a mtan model; only a gpvae takes further sensors"):
        train(cube, tmp_path / "m", extend=model)
    with pytest.raises(InputError, match="is a mtan model; only a gpvae has encoders that compute"):
        embed(cube, model, tmp_path / "l", encoder="bfloat16")
    for given in ({"posterior": "exact"}, {"kernel": "matern32"}):
        (name,) = given
        with pytest.raises(InputError, match=f"{name}: a series model has no such choice"):
            train(cube, tmp_path / "m", model="series", **given)
    with pytest.raises(InputError, match="model 'oracle' is unknown; give gpvae or vae"):
        train(cube, tmp_path / "m", model="oracle")
    assert not (tmp_path / "m").exists()
