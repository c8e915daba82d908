"""A batch follows from the seed and the step, whatever was drawn before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from terralatent.catalogs.errors import InputError
from terralatent.models.observations import Observations
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.training import sampler as sample
from terralatent.pipeline.training.cubes import TrainingCube, open_training_cubes
from terralatent.pipeline.training.sampler import Batch, PixelSampler
from terralatent.pipeline.training.start import centre_and_spread
from terralatent.pipeline.training.train import train
from tests.made.tiny import SENSORS, tiny_cube, tiny_series


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingCube, ...]:
    folder = tmp_path_factory.mktemp("cubes")
    small = tiny_cube(folder / "small", side=12, block=12, seed=1)
    large = tiny_cube(folder / "large", side=20, block=10, seed=2)
    return open_training_cubes([small, large], seed=0)


def equal(first: Observations, second: Observations) -> bool:
    return all(
        torch.equal(one.nan_to_num(-9.0), other.nan_to_num(-9.0))
        for one, other in zip(vars(first).values(), vars(second).values(), strict=True)
    )


def same(first: Batch, second: Batch) -> bool:
    return first.cube == second.cube and all(
        equal(one, second.observations[name]) for name, one in first.observations.items()
    )


def test_a_batch_is_a_pure_function_of_seed_and_step(
    cubes: tuple[TrainingCube, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "BUFFER_BATCHES", 3)
    steps = range(12)
    ahead = PixelSampler(cubes, seed=4, batch=16)
    inorder = [ahead.batch(step) for step in steps]
    monkeypatch.setattr(sample, "CACHE_BYTES", 1)
    back = PixelSampler(cubes, seed=4, batch=16)
    back.pool(20)
    reverse = [back.batch(step) for step in reversed(steps)][::-1]

    assert all(same(one, other) for one, other in zip(inorder, reverse, strict=True))
    assert {batch.cube for batch in inorder} == {0, 1}
    assert not any(
        same(one, PixelSampler(cubes, seed=5, batch=16).batch(step))
        for step, one in enumerate(inorder[:2])
    )
    assert not any(same(inorder[0], other) for other in inorder[1:])


def test_steps_that_follow_one_another_take_turns_with_buffers_of_several_cubes(
    cubes: tuple[TrainingCube, ...],
) -> None:
    sampler = PixelSampler(cubes, seed=0, batch=16, balance="cube")
    drawn = [sampler.batch(step).cube for step in range(64)]
    # Two buffers at a time, which steps take in turns, for 16 steps each.
    for begin in (0, 32):
        assert len(set(drawn[begin : begin + 32 : 2])) == 1
        assert len(set(drawn[begin + 1 : begin + 32 : 2])) == 1
    mixed = [len(set(drawn[begin : begin + 2])) for begin in (0, 32)]
    assert max(mixed) == 2


def test_cubes_are_drawn_as_often_as_they_are_weighed(cubes: tuple[TrainingCube, ...]) -> None:
    weights = {cubes[0].name: 3.0, cubes[1].name: 1.0}
    assert PixelSampler(cubes, seed=0, balance=weights)._share.tolist() == [0.75, 0.25]


def test_a_batch_holds_series_of_all_sensors_with_something_to_see(
    cubes: tuple[TrainingCube, ...],
) -> None:
    batch = PixelSampler(cubes, seed=0, batch=300).batch(1)
    assert set(batch.observations) == set(SENSORS)
    assert {len(own) for own in batch.observations.values()} == {300}
    observed = [own.observed.any(1) for own in batch.observations.values()]
    assert torch.stack(observed).any(0).all()


def test_the_pixels_of_a_buffer_come_once_before_any_comes_again(
    cubes: tuple[TrainingCube, ...],
) -> None:
    pixels = 12 * 11
    sampler = PixelSampler(cubes[:1], seed=0, batch=pixels // 4)
    values = [
        own.values[..., 0].nan_to_num(-1.0)
        for own in (sampler.batch(step).observations["sentinel-1-asc"] for step in range(4))
    ]
    assert len(torch.unique(torch.cat(values), dim=0)) == pixels


def test_pool_and_batches_leave_blocks_apart_alone_and_validation_does_not(
    cubes: tuple[TrainingCube, ...],
) -> None:
    large = cubes[1]
    assert sum(large.apart) == 1
    sampler = PixelSampler([large], seed=0, batch=64)
    (everything,) = PixelSampler([large_without_apart(large)], seed=0).pool(400)
    (pool,) = sampler.pool(400)
    (validation,) = sampler.validation(200)
    apart = keys(everything) - keys(pool)

    assert len(keys(everything)) == 20 * 19
    assert len(keys(pool)) in (300, 290, 280)
    for step in range(3):
        assert not keys(sampler.batch(step).observations) & apart
    assert len(keys(validation) & apart) >= 90
    assert len(keys(validation) - apart) == 100


def large_without_apart(cube: TrainingCube) -> TrainingCube:
    return TrainingCube(**{**vars(cube), "apart": (False,) * len(cube.patches)})


def keys(series: dict[str, Observations]) -> set[bytes]:
    """What distinguishes pixels: their noise."""
    return {row.numpy().tobytes() for row in series["sentinel-1-asc"].values}


def test_pools_are_the_same_at_every_call(cubes: tuple[TrainingCube, ...]) -> None:
    sampler = PixelSampler(cubes, seed=3, batch=8)
    first = sampler.pool(50)
    sampler.batch(7)
    for one, other in zip(first, sampler.pool(50), strict=True):
        assert len(next(iter(one.values()))) == 50
        assert all(equal(one[name], other[name]) for name in one)


def test_a_cube_without_a_clear_pixel_is_refused(tmp_path: Path) -> None:
    (blind,) = open_training_cubes([tiny_cube(tmp_path / "c", side=1, block=1)], seed=0)
    with pytest.raises(InputError, match=r"no pixel has a clear observation by sentinel-1-asc"):
        PixelSampler([blind], seed=0).batch(0)


def test_unknown_sensors_and_missing_cubes_are_refused(tmp_path: Path) -> None:
    cube = tiny_cube(tmp_path / "a", side=2, block=2)
    with pytest.raises(InputError, match="no cube has acquisitions of venus; there are sentinel-1"):
        open_training_cubes([cube], ["venus", "sentinel-1-asc"], seed=0)
    with pytest.raises(InputError, match="there is no store here"):
        open_training_cubes([tmp_path / "nothing"], seed=0)
    with pytest.raises(InputError, match="at least one cube"):
        open_training_cubes([], seed=0)
    (chosen,) = open_training_cubes([cube], ["sentinel-1-asc"], seed=0)
    assert list(chosen.sensors) == ["sentinel-1-asc"]


def test_normalisation_ignores_masked_values_and_a_few_that_are_wild() -> None:
    series = tiny_series(200)
    centre, spread = centre_and_spread([series])
    hit = torch.rand(series.values.shape, generator=torch.Generator().manual_seed(1)) < 0.02
    wild = torch.where(hit, 30.0, torch.where(series.valid, series.values, torch.inf))
    other = centre_and_spread([Observations(**{**vars(series), "values": wild})])

    torch.testing.assert_close(other[0], centre, atol=3e-3, rtol=0)
    torch.testing.assert_close(other[1], spread, atol=3e-3, rtol=0)
    halves = [series.select(slice(0, 100)), series.select(slice(100, 200))]
    torch.testing.assert_close(centre_and_spread(halves), (centre, spread), atol=0, rtol=0)


def test_normalisation_of_a_gaussian_is_its_mean_and_deviation() -> None:
    series = tiny_series(500, "sentinel-1-asc")
    drawn = -12.0 + 3.0 * torch.randn(
        series.values.shape, generator=torch.Generator().manual_seed(0)
    )
    centre, spread = centre_and_spread([Observations(**{**vars(series), "values": drawn})])
    torch.testing.assert_close(centre, torch.full((2,), -12.0), atol=0.1, rtol=0)
    torch.testing.assert_close(spread, torch.full((2,), 3.0), atol=0.1, rtol=0)


def test_a_band_never_observed_or_never_varying_is_not_scaled() -> None:
    series = tiny_series(5)
    values, valid = torch.full_like(series.values, 0.3), series.valid.clone()
    valid[..., 1] = False
    centre, spread = centre_and_spread(
        [Observations(**{**vars(series), "values": values, "valid": valid})]
    )
    assert centre.tolist() == pytest.approx([0.3, 0.0, 0.3])
    assert spread.tolist() == [1.0, 1.0, 1.0]


def test_a_band_of_which_most_values_are_equal_is_scaled_by_its_deviation() -> None:
    series = tiny_series(200)
    drawn = torch.rand(series.values.shape, generator=torch.Generator().manual_seed(2))
    values = torch.where(drawn < 0.7, torch.full_like(drawn, 0.1), drawn)
    _, spread = centre_and_spread([Observations(**{**vars(series), "values": values})])

    wanted = torch.stack([values[..., b][series.valid[..., b]].std() for b in range(3)])
    torch.testing.assert_close(spread, wanted, rtol=1e-2, atol=0)


def test_the_first_pixels_of_a_pool_come_from_all_patches(
    cubes: tuple[TrainingCube, ...],
) -> None:
    large = cubes[1]
    pool = PixelSampler((large,), seed=0, batch=8).pool(60)[0]["sentinel-2-l2a"]
    places = [place for place, mark in enumerate(large.apart) if not mark]
    assert len(places) > 1
    found = set()
    for pixel in range(len(places)):
        one = pool.values[pixel].nan_to_num(-9.0)
        for place in places:
            patch = large.patches[place]
            block = read_series(large.group, tuple(large.sensors), patch.y, patch.x)
            there = block.series()["sentinel-2-l2a"].values.nan_to_num(-9.0)
            if bool((there == one).all(-1).all(-1).any()):
                found.add(place)
    assert found == set(places)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rate": 0.0}, "rate is 0.0; it must be a number above 0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"widths": {"sentinel-1-asc": 0}}, "sentinel-1-asc is 0; it must be at least 1"),
        ({"balance": [1.0, -1.0]}, "must be a number above 0 for each of"),
        ({"balance": [1.0]}, "must be a number above 0 for each of"),
    ],
)
def test_what_cannot_be_a_rate_a_width_or_a_weight_is_refused(
    cubes: tuple[TrainingCube, ...], tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        train([cube.name for cube in cubes], tmp_path / "model", steps=1, **given)
