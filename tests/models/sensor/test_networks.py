"""Laws of the encoders and decoders: linear at the start, blind to what is masked."""

import math

import pytest
import torch
from torch import Tensor, nn

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.observations import Observations
from terralatent.models.sensor.model import SensorModel
from terralatent.models.sensor.networks import (
    YEAR_DAYS,
    Decoder,
    Encoder,
    acquisition_context,
    season,
)
from terralatent.models.sensor.predictive import hadamard_nodes

BANDS, LATENTS, ROWS = 5, 3, 40


def awake(module: nn.Module) -> nn.Module:
    """Give every parameter a value, also those of the layers that start at zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def rows(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(ROWS, BANDS, generator=generator)
    valid = torch.rand(ROWS, BANDS, generator=generator) < 0.6
    valid[0], valid[1] = True, False
    days = 18_000.0 + 900.0 * torch.rand(ROWS, generator=generator, dtype=torch.float64)
    incidence = 30.0 + 15.0 * torch.rand(ROWS, generator=generator)
    incidence[::3] = math.nan
    distance = 20.0 * torch.rand(ROWS, generator=generator)
    return values, valid, acquisition_context(days, incidence), distance


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(BANDS, LATENTS, hidden=16, precision_cap=100.0)


def test_the_season_repeats_with_the_year_and_keeps_float64() -> None:
    days = torch.tensor([0.0, 100.25, 20_000.125], dtype=torch.float64)

    torch.testing.assert_close(season(days), season(days + 40 * YEAR_DAYS), atol=1e-6, rtol=0)
    torch.testing.assert_close(season(days).square().sum(-1), torch.ones(3))


def test_the_encoder_starts_linear() -> None:
    values, _, context, distance = rows()
    linear = torch.randn(LATENTS, BANDS)
    logit = torch.tensor([-2.0, 0.0, 1.0])
    network = encoder()
    network.set_linear(linear, logit, torch.full((LATENTS, BANDS), 1.0 / BANDS))

    w, eta = network(values, torch.ones(ROWS, BANDS, dtype=torch.bool), context, distance)

    torch.testing.assert_close(w, (100.0 * torch.sigmoid(logit)).expand(ROWS, -1))
    torch.testing.assert_close(eta, w * (values @ linear.T))


def test_a_missing_band_leaves_its_share_of_precision_and_what_the_others_say() -> None:
    _, _, context, distance = rows()
    share = torch.tensor([[0.5, 0.2, 0.1, 0.1, 0.1]] * LATENTS)
    network = encoder()
    network.set_linear(2.0 * share, torch.zeros(LATENTS), share)
    values = torch.full((ROWS, BANDS), 0.7)  # all bands agree on y = 1.4
    valid = torch.ones(ROWS, BANDS, dtype=torch.bool)
    valid[:, 0] = False

    w, eta = network(values, valid, context, distance)

    torch.testing.assert_close(w, torch.full_like(w, 0.5 * 50.0))
    torch.testing.assert_close(eta / w, torch.full_like(w, 1.4))


def test_the_encoder_says_exactly_nothing_without_bands_and_never_passes_the_cap() -> None:
    network = awake(encoder())
    values, valid, context, distance = rows()
    w, eta = network(1e3 * values, valid, context, distance)

    empty = ~valid.any(-1)
    assert bool((w[empty] == 0).all())
    assert bool((eta[empty] == 0).all())
    assert bool((w[~empty] > 0).all())
    assert float(w.detach().max()) <= 100.0


@pytest.mark.parametrize("junk", [math.nan, math.inf, -1e30])
def test_what_is_masked_changes_no_output_and_no_gradient(junk: float) -> None:
    network = awake(encoder())
    values, valid, context, distance = rows()

    results = []
    for under in (0.0, junk):
        network.zero_grad()
        w, eta = network(torch.where(valid, values, under), valid, context, distance)
        (w.sum() + eta.square().sum()).backward()
        results.append([w, eta, *(p.grad.clone() for p in network.parameters())])

    for left, right in zip(*results, strict=True):
        assert torch.equal(left, right)
        assert bool(torch.isfinite(left).all())


def test_permuting_observations_permutes_the_answer() -> None:
    network = awake(encoder())
    inputs = rows()
    order = torch.randperm(ROWS)

    for left, right in zip(network(*inputs), network(*(x[order] for x in inputs)), strict=True):
        torch.testing.assert_close(left[order], right)


def test_set_linear_says_what_is_wrong() -> None:
    network = encoder()
    fine = torch.full((LATENTS, BANDS), 1.0 / BANDS)
    with pytest.raises(ValueError, match=r"linear: got shape \(3, 4\), wanted \(3, 5\)"):
        network.set_linear(torch.zeros(LATENTS, 4), torch.zeros(LATENTS), fine)
    with pytest.raises(ValueError, match="shares must sum to 1, got sums"):
        network.set_linear(torch.zeros(LATENTS, BANDS), torch.zeros(LATENTS), 2.0 * fine)
    with pytest.raises(ValueError, match="log_precision must be finite"):
        network.set_linear(torch.zeros(LATENTS, BANDS), torch.full((LATENTS,), math.inf), fine)


def test_the_decoder_starts_linear_and_uses_the_season_only_if_known() -> None:
    torch.manual_seed(1)
    decoder = Decoder(BANDS, LATENTS, hidden=16)
    bias, linear = torch.randn(BANDS), torch.randn(BANDS, LATENTS)
    decoder.set_linear(bias, linear, torch.full((BANDS,), -3.0), torch.zeros(BANDS, 2))
    latent = torch.randn(ROWS, LATENTS)
    spring = season(torch.full((ROWS,), 100.0, dtype=torch.float64))
    autumn = season(torch.full((ROWS,), 280.0, dtype=torch.float64))

    location, log_diag = decoder(latent, spring)
    torch.testing.assert_close(location, bias + latent @ linear.T)
    torch.testing.assert_close(log_diag, torch.full_like(location, -3.0))

    awake(decoder)
    known = torch.arange(ROWS) % 2 == 0
    left, right = decoder(latent, spring, known)[0], decoder(latent, autumn, known)[0]
    assert torch.equal(left[~known], right[~known])
    assert bool((left[known] != right[known]).any(-1).all())


@pytest.mark.parametrize(("units", "seen"), [("dB", True), ("1", False)])
def test_the_angle_of_incidence_is_seen_by_radar_alone(units: str, seen: bool) -> None:
    sensor = SensorConfig(
        name="s", bands=tuple("abcde"), units=units, centre=(0.0,) * 5, spread=(1.0,) * 5
    )
    torch.manual_seed(2)
    model = SensorModel(sensor, ModelConfig(sensors=(sensor,), latents=LATENTS))
    awake(model.encoder)
    values, valid, _, distance = rows()
    places = torch.arange(ROWS)
    sites = [
        model.encode(
            Observations(
                days=torch.linspace(18_000.0, 18_300.0, ROWS, dtype=torch.float64),
                values=values.expand(ROWS, -1, -1),
                valid=valid.expand(ROWS, -1, -1),
                distance=distance.expand(ROWS, -1),
                incidence=torch.full((ROWS,), angle),
            ),
            places,
            places,
        )
        for angle in (math.nan, 3.4, 38.0)
    ]
    unknown, *stated = sites
    for other in stated:
        assert all(map(torch.equal, unknown, other)) is not seen


@pytest.mark.parametrize("dims", [1, 2, 3, 8, 11, 16])
def test_cubature_nodes_have_the_moments_of_a_standard_normal(dims: int) -> None:
    nodes = hadamard_nodes(dims)

    assert nodes.shape == (2 * 2 ** math.ceil(math.log2(dims)), dims)
    assert torch.equal(nodes.abs(), torch.ones_like(nodes))
    torch.testing.assert_close(nodes.mean(0), torch.zeros(dims))
    torch.testing.assert_close(nodes.T @ nodes / len(nodes), torch.eye(dims))


def test_decoded_moments_are_exact_for_a_linear_decoder() -> None:
    sensor = SensorConfig(
        name="s", bands=tuple("abcde"), units="dB", centre=(0.0,) * 5, spread=(1.0,) * 5
    )
    torch.manual_seed(2)
    model = SensorModel(sensor, ModelConfig(sensors=(sensor,), latents=11))
    mean, var = torch.randn(ROWS, 11), torch.rand(ROWS, 11)
    linear = model.decoder.linear

    moments = model.moments(mean, var, torch.zeros(ROWS, 2), full=True)

    torch.testing.assert_close(moments.location, mean @ linear.T)
    torch.testing.assert_close(
        moments.covariance, torch.einsum("bl,nl,cl->nbc", linear, var, linear)
    )
    torch.testing.assert_close(
        model.moments(mean, var, torch.zeros(ROWS, 2)).covariance,
        torch.diagonal(moments.covariance, dim1=-2, dim2=-1),
    )


def test_in_bfloat16_the_linear_part_stays_exact() -> None:
    values, valid, context, distance = rows()
    network = encoder()
    exact = network(values, valid, context, distance)

    network.network_dtype = torch.bfloat16

    for one, other in zip(network(values, valid, context, distance), exact, strict=True):
        assert torch.equal(one, other)


def test_in_bfloat16_the_networks_lose_digits_and_nothing_else() -> None:
    values, valid, context, distance = rows()
    network = awake(encoder())
    assert isinstance(network, Encoder)
    w, eta = network(values, valid, context, distance)

    network.network_dtype = torch.bfloat16
    w_coarse, eta_coarse = network(values, valid, context, distance)

    assert w_coarse.dtype == eta_coarse.dtype == torch.float32
    assert not torch.equal(w_coarse, w)
    assert not w_coarse[1].any()
    torch.testing.assert_close(w_coarse, w, rtol=0.05, atol=0.05)
    torch.testing.assert_close(eta_coarse, eta, rtol=0.05, atol=0.3)
    (w_coarse.sum() + eta_coarse.sum()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)
