"""A sensor joins a trained model: nothing of before changes, and what it observes counts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from terralatent.models.checkpoint import load_model, model_hash, save_model
from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations
from terralatent.models.start import components
from terralatent.models.start.covariances import TooFewObservationsError
from terralatent.models.start.linear import linear_start, start_sensor
from terralatent.pipeline.cube.masking import AS_STORED
from terralatent.pipeline.training.adapting.extend import BaseModel
from terralatent.pipeline.training.holdout import Holdout
from terralatent.pipeline.training.validation import Validation

SERIES, DATES = 96, 40
QUERY = torch.linspace(-20.0, 420.0, 23, dtype=torch.float64)


@pytest.fixture(scope="module", autouse=True)
def _rough_start() -> Iterator[None]:
    """The kernels need not be fitted well here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "EVIDENCE_STEPS", 15)
        yield


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def world(seed: int) -> dict[str, Observations]:
    """Two hidden series of each pixel, as an optical sensor with clouds and radars see them.

    ``radar`` sees both with noise, ``other`` sees them otherwise, and ``deaf`` only noise.
    """
    days = torch.arange(DATES, dtype=torch.float64) * 10.0
    times = torch.cat([days, days + 4.0])
    lag = (times[:, None] - times).abs() * math.sqrt(3.0) / 40.0
    smooth = (1 + lag) * torch.exp(-lag) + 1e-6 * torch.eye(len(times))
    hidden = torch.linalg.cholesky(smooth) @ drawn(SERIES, len(times), 2, seed=seed)
    at, after = hidden.split(DATES, dim=1)
    mixing = torch.tensor([[1.0, 0.2], [0.8, -0.3], [0.1, 1.0], [-0.6, 0.7]], dtype=torch.float64)
    cloudy = torch.rand(SERIES, DATES, generator=torch.Generator().manual_seed(seed)) < 0.6
    seen = {
        "optical": at @ mixing.T + 0.3 * drawn(SERIES, DATES, 4, seed=seed + 1),
        "radar": after @ mixing[::2].T + 0.4 * drawn(SERIES, DATES, 2, seed=seed + 2),
        "other": after @ mixing[1:].T + 0.4 * drawn(SERIES, DATES, 3, seed=seed + 3),
        "deaf": drawn(SERIES, DATES, 2, seed=seed + 4),
    }
    clear = {"optical": ~cloudy}
    return {
        name: Observations(
            days=days if name == "optical" else days + 4.0,
            values=values.float(),
            valid=clear.get(name, torch.ones_like(cloudy))[..., None].expand(values.shape).clone(),
            distance=torch.full((SERIES, DATES), 16.0),
            incidence=torch.full((DATES,), torch.nan),
        )
        for name, values in seen.items()
    }


def described(name: str, bands: int) -> SensorConfig:
    return SensorConfig(
        name=name,
        bands=tuple(f"b{band}" for band in range(bands)),
        units="1" if name == "optical" else "dB",
        centre=(0.1,) * bands,
        spread=(1.2,) * bands,
    )


NEW = {name: described(name, bands) for name, bands in (("radar", 2), ("other", 3), ("deaf", 2))}


def pool(*names: str, seed: int = 1) -> dict[str, Observations]:
    return {name: own for name, own in world(seed).items() if name in names}


@pytest.fixture(scope="module")
def _base() -> GPVAE:
    model = GPVAE(ModelConfig(sensors=(described("optical", 4),), latents=3, hidden=16))
    linear_start(model, [pool("optical")])
    learn(model, ("optical",), steps=3)
    return model


@pytest.fixture
def base(_base: GPVAE) -> GPVAE:
    """A model of the optical sensor, started and then trained for a few steps."""
    return deepcopy(_base)


def learn(model: GPVAE, names: tuple[str, ...], steps: int) -> None:
    optimiser = torch.optim.Adam(
        [values for values in model.parameters() if values.requires_grad], 1e-2
    )
    counted = pool(*names)
    hidden = torch.arange(DATES) % 3 == 0
    for step in range(steps):
        seen = {name: own.hide(hidden) for name, own in counted.items()}
        loss = -model.elbo(seen, counted, torch.Generator().manual_seed(step)).elbo.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.fixture(scope="module")
def extended(_base: GPVAE) -> GPVAE:
    """The same model with the radar, which learned for a few steps; not to be changed."""
    model = deepcopy(_base)
    model.add_sensor(NEW["radar"])
    start_sensor(model, "radar", [pool("optical", "radar")])
    learn(model, ("optical", "radar"), steps=5)
    return model


def test_nothing_of_before_changes_by_a_bit(base: GPVAE, extended: GPVAE) -> None:
    after = extended.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in base.state_dict().items())

    seen = pool("optical", seed=2)
    one, two = base.posterior(seen, QUERY), extended.posterior(seen, QUERY)
    for name in ("mean", "var", "query_mean", "query_var", "kl_by_latent"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    decoded = [
        model.decode("optical", *model.infer(seen, QUERY), QUERY) for model in (base, extended)
    ]
    assert all(map(torch.equal, vars(decoded[0]).values(), vars(decoded[1]).values()))


def test_only_what_is_new_takes_gradients_and_learns(base: GPVAE, extended: GPVAE) -> None:
    learning = {name for name, values in extended.named_parameters() if values.requires_grad}
    assert learning == {
        f"sensors.radar.{name}" for name, _ in extended.sensor("radar").named_parameters()
    }

    base.add_sensor(NEW["radar"])
    start_sensor(base, "radar", [pool("optical", "radar")])
    begun = dict(base.named_parameters())
    unmoved = {
        name for name, values in extended.named_parameters() if torch.equal(values, begun[name])
    }
    assert not unmoved & learning


def test_a_new_sensor_that_is_masked_everywhere_is_as_if_it_were_not_there(
    extended: GPVAE,
) -> None:
    seen = pool("optical", "radar", seed=2)
    masked = {**seen, "radar": seen["radar"].hide(torch.ones(DATES, dtype=torch.bool))}
    alone = extended.infer({"optical": seen["optical"]}, QUERY)
    for one, other in zip(alone, extended.infer(masked, QUERY), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_new_sensor_predicts_hidden_dates_of_the_old_and_of_its_own(
    base: GPVAE, extended: GPVAE
) -> None:
    seen = pool("optical", "radar", seed=2)
    winter = (torch.arange(DATES) > 12) & (torch.arange(DATES) < 22)
    optical, radar = seen["optical"].hide(winter), seen["radar"].hide(~winter)
    hidden = {"optical": seen["optical"].hide(~winter)}

    alone = base.log_predictive({"optical": optical}, hidden)["optical"]
    both = extended.log_predictive({**seen, "optical": optical}, hidden)["optical"]
    assert float(both.log_density.sum()) > float(alone.log_density.sum()) + 100.0
    assert float(both.error.square().mean()) < 0.6 * float(alone.error.square().mean())

    predicted = extended.log_predictive(
        {"optical": seen["optical"], "radar": seen["radar"].hide(winter)}, {"radar": radar}
    )["radar"]
    radar = radar.at(winter)
    normal = extended.sensor("radar").normalise(radar.values, radar.valid)
    assert float(predicted.error.square().mean()) < 0.7 * float(normal.square().mean())


def test_a_sensor_that_tells_nothing_is_silenced(base: GPVAE) -> None:
    base.add_sensor(NEW["deaf"])
    seen = pool("optical", "deaf")
    start_sensor(base, "deaf", [seen])
    alone = base.infer({"optical": seen["optical"]}, QUERY)
    for one, other in zip(alone, base.infer(seen, QUERY), strict=True):
        assert float((one - other).square().mean()) < 0.03**2


@pytest.mark.parametrize("given", [("optical",), ("radar",), ("optical", "radar")])
def test_any_of_the_other_sensors_will_do_to_start_a_further_one(
    extended: GPVAE, given: tuple[str, ...]
) -> None:
    model = deepcopy(extended)
    model.add_sensor(NEW["other"])
    start_sensor(model, "other", [pool(*given, "other")])
    seen = pool("optical", "radar", "other", seed=2)
    other = seen.pop("other")
    predicted = model.log_predictive(seen, {"other": other})["other"]
    normal = model.sensor("other").normalise(other.values, other.valid)
    assert float(predicted.error.square().mean()) < 0.55 * float(normal.square().mean())


def test_sensors_that_a_training_adds_at_once_start_one_after_the_other(base: GPVAE) -> None:
    seen, step_by_step = pool("optical", "radar", "other"), deepcopy(base)
    for name in ("other", "radar"):  # the first has more bands, so it starts first
        step_by_step.add_sensor(NEW[name])
        start_sensor(
            step_by_step, name, [{sensor: seen[sensor] for sensor in step_by_step.sensors}]
        )

    trained = BaseModel("folder", "hash", base, AS_STORED)
    model = trained.extend(step_by_step.config, seed=0)
    hidden = {name: torch.arange(DATES) % 7 == 3 for name in seen}
    trained.start(model, [seen], Validation([seen], [Holdout(hidden)]))
    for name, values in step_by_step.state_dict().items():
        assert torch.equal(values, model.state_dict()[name]), name
    learning = {
        name.split(".")[1] for name, values in model.named_parameters() if values.requires_grad
    }
    assert learning == {"other", "radar"}


def test_the_order_of_adding_means_nothing(base: GPVAE) -> None:
    other = deepcopy(base)
    for name in ("radar", "other"):
        base.add_sensor(NEW[name], seed=3)
    for name in ("other", "radar"):
        other.add_sensor(NEW[name], seed=3)
    whole = GPVAE(base.config, seed=3).state_dict()
    assert base.config == other.config
    assert list(base.state_dict()) == list(other.state_dict()) == list(whole)
    for name in base.state_dict():
        assert torch.equal(base.state_dict()[name], other.state_dict()[name])
        if not name.startswith(("kernel", "sensors.optical")):
            assert torch.equal(base.state_dict()[name], whole[name])


def test_an_extended_model_is_kept_and_read_back_to_the_bit(
    extended: GPVAE, base: GPVAE, tmp_path: Path
) -> None:
    seen = pool("optical", "radar", seed=2)
    save_model(base, tmp_path / "base", {})
    made = save_model(extended, tmp_path / "more", {})
    read = load_model(tmp_path / "more")
    assert made == model_hash(tmp_path / "more") != model_hash(tmp_path / "base")
    assert read.config == extended.config
    assert all(map(torch.equal, read.infer(seen, QUERY), extended.infer(seen, QUERY)))


def test_a_sensor_that_is_there_is_refused(extended: GPVAE) -> None:
    before = extended.config
    with pytest.raises(ValueError, match=r"radar: .* already, .*\['b0', 'b1'\].*another name than"):
        extended.add_sensor(described("radar", 5))
    assert extended.config is before


def test_a_start_needs_old_and_new_observations_of_the_same_pixels(base: GPVAE) -> None:
    base.add_sensor(NEW["radar"])
    dark = pool("optical", "radar")
    dark["radar"] = dark["radar"].hide(torch.ones(DATES, dtype=torch.bool))
    for pools in ([], [pool("radar")], [pool("optical")], [dark]):
        with pytest.raises(
            TooFewObservationsError, match="radar starts from a regression on optical, but"
        ):
            start_sensor(base, "radar", pools)
