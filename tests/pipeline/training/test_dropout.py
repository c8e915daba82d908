"""What q does not see differs from step to step, and is never all of a series."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations
from terralatent.pipeline.training.dropout import (
    DROP_ANGLE,
    DROP_BANDS,
    LONGEST_WINDOW_DAYS,
    band_groups,
    drop_bands,
    drop_observations,
    seeded,
)
from terralatent.pipeline.training.holdout import hold_out
from terralatent.pipeline.training.start import centre_and_spread
from tests.made.tiny import SENSORS, tiny_pixels, tiny_series

PIXELS = 64


def observed(series: dict[str, Observations]) -> torch.Tensor:
    return torch.cat([series[name].observed for name in sorted(series)], dim=1)


@pytest.mark.parametrize("step", range(20))
def test_some_is_hidden_nothing_is_shown_and_no_series_loses_all(step: int) -> None:
    series = tiny_pixels(PIXELS)
    seen = drop_observations(series, seeded(0, step))

    assert not (observed(seen) & ~observed(series)).any()
    assert (observed(seen).sum() < observed(series).sum()).item()
    assert torch.equal(observed(seen).any(1), observed(series).any(1))


def test_even_a_single_observation_is_left() -> None:
    series = tiny_series(PIXELS, "sentinel-1-asc").at(slice(0, 1))
    for step in range(20):
        assert torch.equal(
            drop_observations({"s": series}, seeded(0, step))["s"].valid, series.valid
        )


def test_a_series_without_observations_stays_empty() -> None:
    series = tiny_pixels(PIXELS)
    empty = {n: own.hide(torch.ones(len(own.days)) > 0) for n, own in series.items()}
    assert not observed(drop_observations(empty, seeded(0))).any()


def test_the_masks_follow_from_the_seed_alone() -> None:
    series = tiny_pixels(PIXELS)
    first = drop_observations(series, seeded(5, 9))
    torch.rand(100)
    again = drop_observations(dict(reversed(series.items())), seeded(5, 9))
    other = drop_observations(series, seeded(5, 10))

    assert torch.equal(observed(first), observed(again))
    assert not torch.equal(observed(first), observed(other))


def test_values_do_not_decide_what_is_hidden() -> None:
    series = tiny_pixels(PIXELS)
    noisy = {
        n: Observations(**{**vars(own), "values": own.values + 1}) for n, own in series.items()
    }
    first, second = drop_observations(series, seeded(1)), drop_observations(noisy, seeded(1))
    assert torch.equal(observed(first), observed(second))


def test_all_three_kinds_of_gap_occur() -> None:
    series = tiny_pixels(PIXELS)
    radar = series["sentinel-1-asc"]
    assert radar.observed.all()
    dropped, untouched, longest = 0, 0, 0.0
    for step in range(100):
        seen = drop_observations(series, seeded(0, step))["sentinel-1-asc"].observed
        dropped += int(not seen.any(0).any() or int(seen.sum()) <= PIXELS // 8)
        untouched += int(seen.all(1).sum())
        sparse = seen.float().mean(1) > 0.6
        for row in seen[sparse]:
            longest = max(longest, float(radar.days[row].diff().max()))
    assert 2 <= dropped <= 20
    assert untouched > 100
    assert 30.0 < longest <= LONGEST_WINDOW_DAYS + 60.0


def changed(
    series: dict[str, Observations], seen: dict[str, Observations]
) -> dict[str, Observations]:
    """The same as ``seen``, with other numbers wherever it hides what ``series`` has."""
    return {
        name: replace(
            own,
            values=torch.where(series[name].valid & ~own.valid, 1e3, own.values),
        )
        for name, own in seen.items()
    }


@pytest.fixture(scope="module")
def model() -> GPVAE:
    sensors = [
        SensorConfig(
            name=name,
            bands=tuple("abc"[:bands]),
            units="1",
            centre=(0.2,) * bands,
            spread=(0.1,) * bands,
        )
        for name, (bands, _, _) in SENSORS.items()
    ]
    return GPVAE(ModelConfig(sensors=tuple(sensors), latents=4), seed=0)


def test_what_is_hidden_never_reaches_q(model: GPVAE) -> None:
    series = tiny_pixels(8)
    seen = drop_observations(series, seeded(0, 3))
    with torch.no_grad():
        first, second = model.posterior(seen), model.posterior(changed(series, seen))
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.var, second.var)
    assert torch.equal(first.kl, second.kl)


def test_what_is_held_out_never_reaches_training(model: GPVAE) -> None:
    series = tiny_pixels(8)
    training = hold_out(series, 0).training(series)
    other = changed(series, training)
    for name in series:
        for one, two in zip(
            centre_and_spread([training[name]]), centre_and_spread([other[name]]), strict=True
        ):
            assert torch.equal(one, two)
    with torch.no_grad():
        first, second = (
            model.elbo(drop_observations(counted, seeded(0)), counted, seeded(1))
            for counted in (training, other)
        )
    assert torch.equal(first.elbo, second.elbo)


OPTICAL = "sentinel-2-l2a"
BANDS = ("B02", "B8A", "B03")
"""One of 20 m between two of 10 m."""


def bands_left(seen: dict[str, Observations]) -> frozenset[int]:
    return frozenset(torch.nonzero(seen[OPTICAL].valid.flatten(0, 1).any(0)).flatten().tolist())


def test_bands_of_one_resolution_some_and_single_ones_are_left() -> None:
    series = tiny_pixels(PIXELS)
    groups = band_groups({OPTICAL: BANDS, "sentinel-1-asc": ("vv", "vh")})
    assert groups == {OPTICAL: [[0, 2], [1]], "sentinel-1-asc": [[0, 1]]}
    steps = 400
    left = [bands_left(drop_bands(series, groups, seeded(0, step))) for step in range(steps)]

    some = ([0, 1, 2], [0, 1], [0, 2], [1, 2], [0], [1], [2])
    assert set(left) == {frozenset(kept) for kept in some}
    # All are left in as many steps as are meant to, within four standard deviations.
    whole, share = left.count(frozenset([0, 1, 2])), 1 - DROP_BANDS
    assert abs(whole - share * steps) < 4 * (steps * share * DROP_BANDS) ** 0.5


@pytest.mark.parametrize("step", range(8))
def test_bands_are_hidden_for_the_whole_batch_but_no_series_loses_all(step: int) -> None:
    series = tiny_pixels(PIXELS)
    optical = series[OPTICAL]
    valid = optical.valid.clone()
    valid[:5, :, 1:] = False  # these have the first band alone, and no radar
    series[OPTICAL] = replace(optical, valid=valid)
    series["sentinel-1-asc"] = series["sentinel-1-asc"].hide(torch.ones(30) > 0)
    seen = drop_bands(series, band_groups({OPTICAL: BANDS}), seeded(1, step))

    kept = list(bands_left({OPTICAL: seen[OPTICAL].select(slice(5, None))}))
    assert torch.equal(seen[OPTICAL].valid[5:, :, kept], valid[5:, :, kept])
    assert torch.equal(seen[OPTICAL].valid[:5].any(-1), valid[:5].any(-1))
    assert torch.equal(observed(seen).any(1), observed(series).any(1))
    assert not (seen[OPTICAL].valid & ~valid).any()


def test_only_bands_that_a_batch_has_are_chosen() -> None:
    series = {OPTICAL: tiny_series(8)}
    valid = series[OPTICAL].valid.clone()
    valid[..., 2] = False
    series[OPTICAL] = replace(series[OPTICAL], valid=valid)
    groups = band_groups({OPTICAL: BANDS})
    left = {bands_left(drop_bands(series, groups, seeded(2, step))) for step in range(60)}
    assert left == {frozenset([0, 1]), frozenset([0]), frozenset([1])}


def test_in_half_of_the_batches_no_angle_is_known_and_nothing_else_depends_on_that() -> None:
    series = tiny_pixels(PIXELS)
    radar = series["sentinel-1-asc"]
    known = replace(radar, incidence=torch.full_like(radar.incidence, 38.0))
    groups = band_groups({OPTICAL: BANDS})
    steps = 200
    dropped = 0
    for step in range(steps):
        with_angle, without = (
            drop_bands({**series, "sentinel-1-asc": own}, groups, seeded(4, step))
            for own in (known, radar)
        )
        angle = with_angle["sentinel-1-asc"].incidence
        assert bool((angle == 38.0).all()) or bool(angle.isnan().all())
        dropped += int(angle.isnan().all())
        assert torch.equal(with_angle[OPTICAL].valid, without[OPTICAL].valid)
        assert torch.equal(with_angle["sentinel-1-asc"].valid, without["sentinel-1-asc"].valid)
    assert abs(dropped - DROP_ANGLE * steps) < 4 * (steps * DROP_ANGLE * (1 - DROP_ANGLE)) ** 0.5
