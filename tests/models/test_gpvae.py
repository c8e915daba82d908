"""Laws of the model: what may change an answer, and that the objective bounds the evidence."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from terralatent.models import GPVAE, ModelConfig, Observations
from terralatent.models.config import SensorConfig
from terralatent.models.posteriors import POSTERIORS

OPTICAL, RADAR = "sentinel-2-l2a", "sentinel-1-asc"
PIXELS = 6


def sensor(name: str, bands: int) -> SensorConfig:
    return SensorConfig(
        name=name,
        bands=tuple(f"b{band}" for band in range(bands)),
        units="reflectance",
        centre=tuple(0.1 + 0.02 * band for band in range(bands)),
        spread=tuple(0.2 + 0.1 * band for band in range(bands)),
    )


def model(posterior: str = "markov", likelihood: str = "student") -> GPVAE:
    """A model none of whose parts is at its starting value."""
    config = ModelConfig(
        sensors=(sensor(OPTICAL, 4), sensor(RADAR, 2)),
        latents=3,
        hidden=16,
        posterior=posterior,
        likelihood=likelihood,  # type: ignore[arg-type]
    )
    made = GPVAE(config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "kernel" not in name:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return made


def observe(bands: int, dates: int, seed: int, pixels: int = PIXELS) -> Observations:
    generator = torch.Generator().manual_seed(seed)
    days = 18_000.0 + 400.0 * torch.rand(dates, generator=generator, dtype=torch.float64)
    valid = torch.rand(pixels, dates, bands, generator=generator) < 0.7
    valid &= torch.rand(pixels, dates, 1, generator=generator) < 0.6
    return Observations(
        days=days.sort().values,
        values=0.3 + 0.3 * torch.randn(pixels, dates, bands, generator=generator),
        valid=valid,
        distance=16.0 * torch.rand(pixels, dates, generator=generator),
        incidence=torch.full((dates,), 38.0 if bands == 2 else math.nan),
    )


def scene() -> dict[str, Observations]:
    return {OPTICAL: observe(4, 25, 1), RADAR: observe(2, 30, 2)}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(11)


QUERY = torch.tensor([17_900.0, 18_050.5, 18_200.0, 18_390.0], dtype=torch.float64)


def close(left: tuple[Tensor, ...], right: tuple[Tensor, ...], atol: float = 1e-5) -> None:
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_the_order_of_sensors_and_series_means_nothing(posterior: str) -> None:
    made, seen = model(posterior), scene()
    wanted = made.infer(seen, QUERY)

    backwards = dict(reversed(seen.items()))
    assert all(map(torch.equal, wanted, made.infer(backwards, QUERY)))
    swapped = GPVAE(made.config.model_copy(update={"sensors": made.config.sensors[::-1]}))
    start = GPVAE(made.config)
    assert all(map(torch.equal, swapped.state_dict().values(), start.state_dict().values()))

    order = torch.randperm(PIXELS)
    shuffled = {name: series.select(order) for name, series in seen.items()}
    close(made.infer(shuffled, QUERY), tuple(part[order] for part in wanted))


def test_a_day_of_two_acquisitions_does_not_care_which_comes_first() -> None:
    made, radar = model(), observe(2, 12, 3)
    days = radar.days.clone()
    days[5] = days[6]
    order = torch.arange(12)
    order[5], order[6] = 6, 5
    one = replace(radar, days=days)
    other = Observations(
        days,
        radar.values[:, order],
        radar.valid[:, order],
        radar.distance[:, order],
        radar.incidence[order],
    )
    close(made.infer({RADAR: one}, QUERY), made.infer({RADAR: other}, QUERY))


@pytest.mark.parametrize("size", [1, 4])
def test_any_batch_size_gives_the_same_answer(size: int) -> None:
    made, seen = model(), scene()
    wanted = made.infer(seen, QUERY)
    predicted = made.decode(OPTICAL, *wanted, QUERY)

    for start in range(0, PIXELS, size):
        part = slice(start, start + size)
        got = made.infer({name: series.select(part) for name, series in seen.items()}, QUERY)
        close(got, tuple(whole[part] for whole in wanted))
        alone = made.decode(OPTICAL, *got, QUERY)
        for name in ("mean", "std_signal", "std", "q05", "q95"):
            torch.testing.assert_close(
                getattr(alone, name), getattr(predicted, name)[part], atol=1e-5, rtol=1e-4
            )


def _spoil(seen: Mapping[str, Observations], junk: float) -> dict[str, Observations]:
    return {
        name: replace(series, values=torch.where(series.valid, series.values, junk))
        for name, series in seen.items()
    }


@pytest.mark.parametrize("junk", [math.nan, math.inf, -1e30])
def test_what_is_masked_changes_nothing_gradients_included(junk: float) -> None:
    made = model()
    results = []
    for batch in (_spoil(scene(), 0.0), _spoil(scene(), junk)):
        made.zero_grad()
        bound = made.elbo(batch, batch, generator())
        bound.elbo.sum().backward()
        grads = [p.grad.clone() for p in made.parameters() if p.grad is not None]
        results.append([*bound, *made.infer(batch, QUERY), *grads])
    for left, right in zip(*results, strict=True):
        assert torch.equal(left, right)
        assert bool(torch.isfinite(left).all())


@pytest.mark.parametrize(
    "posterior", [name for name, form in POSTERIORS.items() if form.calendar_free]
)
def test_an_absent_sensor_is_a_masked_sensor(posterior: str) -> None:
    made, seen = model(posterior), scene()
    blind = {**seen, RADAR: seen[RADAR].hide(torch.ones(30, dtype=torch.bool))}
    alone = {OPTICAL: seen[OPTICAL]}

    close(made.infer(alone, QUERY), made.infer(blind, QUERY), atol=1e-6)
    close(made.elbo(alone, seen, generator()), made.elbo(blind, seen, generator()), atol=1e-3)


@pytest.mark.parametrize(
    "posterior", [name for name, form in POSTERIORS.items() if form.keeps_prior]
)
def test_without_any_observation_the_posterior_is_the_prior(posterior: str) -> None:
    made, seen = model(posterior), scene()
    blind = {n: series.hide(torch.ones(PIXELS, 1, dtype=torch.bool)) for n, series in seen.items()}
    mean, var = made.infer(blind, QUERY)
    bound = made.elbo(blind, blind, generator())

    assert bool((mean == 0).all())
    torch.testing.assert_close(var, torch.ones_like(var))
    assert bool((bound.kl == 0).all())
    assert bool((bound.elbo == 0).all())


def test_dates_without_anything_valid_may_be_left_out() -> None:
    made, seen = model(), scene()
    hidden = torch.arange(25) % 3 == 0
    with_gaps = {OPTICAL: seen[OPTICAL].hide(hidden)}
    without = {OPTICAL: seen[OPTICAL].at(~hidden)}
    close(made.infer(with_gaps, QUERY), made.infer(without, QUERY))


def _linear_model() -> tuple[GPVAE, Tensor, float]:
    """As many latents as bands, orthogonal loadings, isotropic noise: q can be exact."""
    noise, loading = 0.15, 0.8
    config = ModelConfig(
        sensors=(
            SensorConfig(
                name="s", bands=("a", "b", "c"), units="1", centre=(0.0,) * 3, spread=(1.0,) * 3
            ),
        ),
        latents=3,
        likelihood="gaussian",
    )
    made = GPVAE(config)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator())).Q
    pair = made.sensor("s")
    weight = loading**2 / noise / config.precision_cap
    pair.encoder.set_linear(
        turn.T / loading,
        torch.full((3,), math.log(weight / (1.0 - weight))),
        torch.full((3, 3), 1.0 / 3.0),
    )
    pair.decoder.set_linear(
        torch.zeros(3), loading * turn, torch.full((3,), math.log(noise)), torch.zeros(3, 2)
    )
    return made, loading * turn, noise


def test_the_objective_is_the_evidence_where_q_is_exact_and_below_it_otherwise() -> None:
    made, loadings, noise = _linear_model()
    days = torch.tensor([0.0, 3.0, 20.0, 21.0, 60.0, 300.0, 300.0], dtype=torch.float64)
    dates, copies = len(days), 30_000
    values = 0.7 * torch.randn(1, dates, 3, generator=generator()).expand(copies, -1, -1)
    seen = Observations(
        days=days,
        values=values.contiguous(),
        valid=torch.ones(copies, dates, 3, dtype=torch.bool),
        distance=torch.full((copies, dates), 16.0),
        incidence=torch.full((dates,), math.nan),
    )
    covariance = made.kernel.covariance(days[:, None] - days[None, :]).double().detach()
    wide = loadings.double()
    dense = torch.einsum("stl,bl,cl->sbtc", covariance, wide, wide).reshape(dates * 3, dates * 3)
    dense = dense + noise * torch.eye(dates * 3, dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(torch.zeros(dates * 3).double(), dense)
    evidence = float(law.log_prob(values[0].double().reshape(-1)))

    def estimate(part: Observations) -> tuple[float, float]:
        with torch.no_grad():
            bound = made.elbo({"s": part}, {"s": seen}, generator()).elbo
        return float(bound.mean()), float(bound.std()) / math.sqrt(copies)

    mean, error = estimate(seen)
    assert mean == pytest.approx(evidence, abs=4.0 * error)
    less, error = estimate(seen.hide(torch.arange(dates) == 4))
    assert less < evidence - 4.0 * error


def test_a_linear_model_predicts_what_dense_regression_predicts() -> None:
    made, loadings, noise = _linear_model()
    days = torch.tensor([0.0, 3.0, 20.0, 60.0], dtype=torch.float64)
    values = torch.randn(1, 4, 3, generator=generator())
    seen = Observations(
        days, values, torch.ones(1, 4, 3, dtype=torch.bool), torch.ones(1, 4), torch.ones(4)
    )
    queries = torch.tensor([10.0, 100.0], dtype=torch.float64)

    predicted = made.decode("s", *made.infer({"s": seen}, queries), queries)

    everywhere = torch.cat([days, queries])
    lag = everywhere[:, None] - everywhere
    covariance = made.kernel.covariance(lag).double().detach()
    wide = loadings.double()
    dense = torch.einsum("stl,bl,cl->sbtc", covariance, wide, wide).reshape(18, 18)
    gain = torch.linalg.solve(dense[:12, :12] + noise * torch.eye(12).double(), dense[:12, 12:]).T
    mean = (gain @ values.double().reshape(12)).reshape(1, 2, 3)
    signal = (dense[12:, 12:] - gain @ dense[:12, 12:]).diagonal().reshape(1, 2, 3)
    torch.testing.assert_close(predicted.mean.double(), mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(predicted.std_signal.double().square(), signal, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        predicted.std.double().square(), signal + noise, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        predicted.q95 - predicted.mean, 1.6448536 * predicted.std, atol=1e-4, rtol=1e-4
    )


def test_predictions_are_in_physical_units_and_calibration_scales_their_parts() -> None:
    made, seen = model(), scene()
    latents = made.infer(seen, QUERY)
    before = made.decode(RADAR, *latents, QUERY)
    pair = made.sensor(RADAR)
    with torch.no_grad():
        pair.noise_factor.fill_(4.0)
        pair.signal_factor.fill_(4.0)
    after = made.decode(RADAR, *latents, QUERY)

    torch.testing.assert_close(after.mean, before.mean)
    for name in ("std_signal", "std"):
        torch.testing.assert_close(getattr(after, name), 2.0 * getattr(before, name))
    torch.testing.assert_close(after.q95 - after.mean, 2.0 * (before.q95 - before.mean))
    torch.testing.assert_close(before.q95 - before.mean, before.mean - before.q05)
    assert bool((before.std > before.std_signal).all())

    pair.spread.mul_(3.0)
    wider = made.decode(RADAR, *latents, QUERY)
    torch.testing.assert_close(wider.std, 3.0 * after.std)


@pytest.mark.parametrize("likelihood", ["student", "gaussian"])
def test_hidden_observations_are_scored_band_by_band_and_jointly(likelihood: str) -> None:
    made, whole = model(likelihood=likelihood), scene()
    gone = torch.arange(25) % 5 == 0
    seen = {**whole, OPTICAL: whole[OPTICAL].hide(gone)}
    held = whole[OPTICAL].hide(~gone)

    score = made.log_predictive(seen, {OPTICAL: held})[OPTICAL]

    assert torch.equal(score.days, held.days[held.observed.any(0)])
    some = score.valid.any(-1)
    assert bool((score.log_density[~some] == 0).all())
    assert bool((score.error[~score.valid] == 0).all())
    predicted = made.decode(OPTICAL, *made.infer(seen, score.days), score.days)
    values = held.at(held.observed.any(0)).values
    spread = made.sensor(OPTICAL).spread
    error = torch.where(score.valid, (values - predicted.mean) / spread, 0.0)
    torch.testing.assert_close(score.error.abs(), error.abs(), atol=1e-5, rtol=1e-4)
    # An observation far away is less probable.
    far = replace(held, values=held.values + 50.0)
    worse = made.log_predictive(seen, {OPTICAL: far})[OPTICAL]
    assert bool((worse.log_density[some] < score.log_density[some]).all())


def test_the_noise_does_not_depend_on_what_is_masked() -> None:
    made, whole = model(), scene()
    fewer = {**whole, OPTICAL: whole[OPTICAL].hide(torch.arange(25) == 24)}
    seen = {RADAR: whole[RADAR]}
    one, other = made.elbo(seen, whole, generator()), made.elbo(seen, fewer, generator())
    torch.testing.assert_close(one.kl, other.kl)
    untouched = ~whole[OPTICAL].observed[:, 24]
    assert bool(untouched.any())
    torch.testing.assert_close(one.loglik[untouched], other.loglik[untouched])


def test_bad_input_is_refused_with_what_was_given_and_wanted() -> None:
    made, seen = model(), scene()
    with pytest.raises(ValueError, match="at least one sensor, got none"):
        made.infer({}, QUERY)
    with pytest.raises(ValueError, match=r"no sensor 'modis'; it knows \['sentinel-1-asc'"):
        made.infer({"modis": seen[RADAR]}, QUERY)
    with pytest.raises(ValueError, match="observations have 2 bands, the model wants 4"):
        made.infer({OPTICAL: seen[RADAR]}, QUERY)
    with pytest.raises(ValueError, match="same number of pixels"):
        made.infer({OPTICAL: seen[OPTICAL], RADAR: seen[RADAR].select(slice(0, 2))}, QUERY)
    with pytest.raises(ValueError, match="other days than what is counted"):
        made.elbo({OPTICAL: seen[OPTICAL].at(slice(0, 3))}, seen, generator())
    with pytest.raises(ValueError, match="no posterior is called 'magic'"):
        model("magic")
    with pytest.raises(ValueError, match="days must ascend, but day 1"):
        replace(seen[RADAR], days=seen[RADAR].days.flip(0))
    with pytest.raises(ValueError, match=r"valid: got shape \(6, 30, 2\) and torch.float32"):
        replace(seen[RADAR], valid=seen[RADAR].valid.float())


def test_concatenated_pixels_are_those_of_the_parts() -> None:
    whole = scene()[RADAR]
    parts = [whole.select(slice(0, 2)), whole.select(torch.arange(2, PIXELS))]
    joined = Observations.concatenate(parts)
    assert torch.equal(joined.values, whole.values)
    assert torch.equal(joined.valid, whole.valid)
    with pytest.raises(ValueError, match="part 1 has other days"):
        Observations.concatenate([parts[0], replace(parts[1], days=whole.days + 1.0)])


def test_bands_are_decoded_by_their_names() -> None:
    made, seen = model(), scene()
    mean, var = made.infer(seen, QUERY)

    whole = made.decode(OPTICAL, mean, var, QUERY)
    some = made.decode(OPTICAL, mean, var, QUERY, ["b3", "b0"])

    assert torch.equal(some.mean, whole.mean[..., [3, 0]])
    assert torch.equal(some.q95, whole.q95[..., [3, 0]])
    with pytest.raises(ValueError, match=r"no bands \['b9'\]; the model knows \['b0', 'b1'"):
        made.decode(OPTICAL, mean, var, QUERY, ["b0", "b9"])
