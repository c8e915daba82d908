"""The map of years to components that a training leaves: of whole years, and of its base's where
there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from terralatent.models.annual import AnnualMap
from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.families import make_model
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations
from terralatent.pipeline.training.annual_map import (
    MOST_COMPONENTS,
    annual_map_of,
    keep_annual_map,
    years_of,
)
from tests.made.tiny import FIRST_DAY, tiny_pixels

PIXELS, LATENTS = 40, 3


def pool(days: float, pixels: int = PIXELS, seed: int = 0) -> Mapping[str, Observations]:
    """Seasonal pixels whose acquisitions are spread over so many days."""
    made = tiny_pixels(pixels, seed)
    last = max(float(own.days[-1]) for own in made.values())
    return {
        name: replace(own, days=FIRST_DAY + (own.days - FIRST_DAY) * (days / (last - FIRST_DAY)))
        for name, own in made.items()
    }


@pytest.fixture(scope="module")
def model() -> GPVAE:
    sensors = tuple(
        SensorConfig(
            name=name,
            bands=tuple(f"B{band}" for band in range(own.values.shape[-1])),
            units="1",
            centre=(0.25,) * own.values.shape[-1],
            spread=(0.1,) * own.values.shape[-1],
        )
        for name, own in tiny_pixels(2).items()
    )
    made = GPVAE(ModelConfig(sensors=sensors, latents=LATENTS, hidden=8), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "kernel" not in name:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return made


def test_years_of_the_pixels_have_components_of_mean_zero_and_variance_one(model: GPVAE) -> None:
    """Of one pool of one year, inferred again: the map was fitted to just these."""
    own = pool(370.0)
    mapped = annual_map_of(model, [own])
    assert mapped is not None
    (dates,) = years_of(own)
    vectors, _ = mapped.apply(*model.joint(own, dates))
    leading = vectors[:, mapped.explained > 1e-3]
    torch.testing.assert_close(leading.mean(0), torch.zeros_like(leading[0]), atol=0.02, rtol=0)
    torch.testing.assert_close(
        leading.var(0, correction=0), torch.ones_like(leading[0]), atol=0.02, rtol=0
    )
    assert mapped.components <= min(MOST_COMPONENTS, 12 * LATENTS)
    assert float(mapped.explained.sum()) == pytest.approx(1.0, abs=1e-3)
    assert (mapped.explained.diff() <= 1e-6).all()


def test_a_pool_counts_as_much_as_another_however_many_pixels_it_has(model: GPVAE) -> None:
    few, many = pool(370.0, pixels=10, seed=1), pool(370.0, pixels=40, seed=2)
    once = annual_map_of(model, [few, many])
    again = annual_map_of(model, [few, few, many, many])
    assert once is not None
    assert again is not None
    torch.testing.assert_close(once.explained, again.explained, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("days", "years"), [(300.0, 0), (340.0, 1), (690.0, 1), (700.0, 2)])
def test_only_whole_years_count(model: GPVAE, days: float, years: int) -> None:
    assert len(list(years_of(pool(days)))) == years
    assert (annual_map_of(model, [pool(days, pixels=6)]) is None) == (years == 0)


def test_what_went_on_from_another_model_keeps_its_map(model: GPVAE, tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "own"
    base.mkdir()
    folder.mkdir()
    keep_annual_map(model, base, [pool(370.0)])
    keep_annual_map(model, folder, [pool(370.0, seed=5)], str(base))
    assert AnnualMap.load(folder).digest() == AnnualMap.load(base).digest()
    keep_annual_map(model, folder, [pool(370.0, seed=5)])
    assert AnnualMap.load(folder).digest() != AnnualMap.load(base).digest()


def test_a_family_without_a_joint_posterior_gets_none(model: GPVAE, tmp_path: Path) -> None:
    other = make_model(model.config.model_copy(update={"model": "vae"}))
    keep_annual_map(other, tmp_path, [pool(370.0)])
    assert not AnnualMap.is_in(tmp_path)
