"""A year in a few components: exact moments, the metric of the map, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from terralatent.models.annual import (
    MONTHS,
    AnnualMap,
    annual_vectors,
    decoded_metric,
    fit_annual_map,
)
from terralatent.models.checkpoint import CheckpointError
from terralatent.models.gpvae import GPVAE
from tests.models.test_gpvae import model, scene
from tests.models.test_joint import changed

YEAR = 17_500.0 + 30.4 * torch.arange(MONTHS, dtype=torch.float64)
COMPONENTS = 5


def random_map(latents: int, components: int = COMPONENTS, seed: int = 0) -> AnnualMap:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(components, MONTHS, latents, generator=generator)
    return AnnualMap(weights, torch.randn(components, generator=generator), torch.ones(components))


@pytest.fixture
def made() -> GPVAE:
    return changed("constant+matern12").eval()


def test_moments_are_those_of_a_gaussian_in_all_dates_at_once(made: GPVAE) -> None:
    """Oracle: the dense posterior of each latent, joined into one Gaussian of 12 L numbers."""
    mapped = random_map(made.config.latents)
    ((mean, variance),) = annual_vectors(made, mapped, scene(), [YEAR])
    joint_mean, joint_cov = made.joint(scene(), YEAR)
    flat = mapped.weights.double().numpy().reshape(COMPONENTS, -1)
    for pixel in range(len(mean)):
        whole = np.zeros((MONTHS, made.config.latents) * 2)
        for latent in range(made.config.latents):
            whole[:, latent, :, latent] = joint_cov[pixel, latent].double().numpy()
        whole = whole.reshape(flat.shape[1], -1)
        wanted = flat @ joint_mean[pixel].double().numpy().ravel() - mapped.offset.double().numpy()
        scale = np.abs(flat).sum(axis=1)
        np.testing.assert_allclose(mean[pixel], wanted, atol=1e-5 * scale.max())
        np.testing.assert_allclose(
            variance[pixel], np.diag(flat @ whole @ flat.T), atol=1e-5 * scale.max() ** 2
        )


def test_years_are_independent_of_each_other(made: GPVAE) -> None:
    mapped = random_map(made.config.latents)
    together = annual_vectors(made, mapped, scene(), [YEAR, YEAR + 365])
    for place, days in enumerate((YEAR, YEAR + 365)):
        (alone,) = annual_vectors(made, mapped, scene(), [days])
        torch.testing.assert_close(together[place], alone)


def test_a_mean_over_the_year_is_less_sure_than_marginals_would_say(made: GPVAE) -> None:
    """A pixel that was hardly seen has one error in all months, which an average keeps."""
    weights = torch.zeros(1, MONTHS, made.config.latents)
    weights[0, :, 0] = 1.0 / MONTHS
    mapped = AnnualMap(weights, torch.zeros(1), torch.ones(1))
    ((_, variance),) = annual_vectors(made, mapped, scene(), [YEAR])
    _, marginal = made.infer(scene(), YEAR)
    assert (variance[:, 0] > marginal[:, :, 0].mean(1) / MONTHS).all()


def test_components_are_principal_directions_of_what_is_decoded() -> None:
    """Oracle: the singular values of years that are decoded one by one."""
    generator = torch.Generator().manual_seed(1)
    latents, bands = 3, 4
    years = torch.randn(400, MONTHS, latents, generator=generator).cumsum(1)
    decoder = torch.randn(bands, latents, generator=generator, dtype=torch.float64)
    mapped = fit_annual_map(years, decoder.T @ decoder, COMPONENTS)
    found = years.flatten(1).double() @ mapped.weights.flatten(1).double().T - mapped.offset
    np.testing.assert_allclose(np.cov(found.T, bias=True), np.eye(COMPONENTS), atol=1e-4)
    decoded = np.einsum("nml,bl->nmb", years.double(), decoder).reshape(len(years), -1)
    left, singular, _ = np.linalg.svd(decoded - decoded.mean(0), full_matrices=False)
    share = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(mapped.explained, share[:COMPONENTS], rtol=1e-4)
    alike = left[:, :COMPONENTS].T @ found.numpy() / len(years) ** 0.5
    np.testing.assert_allclose(np.abs(alike), np.eye(COMPONENTS), atol=1e-3)


def test_the_metric_is_the_root_of_what_linear_decoders_make_of_a_difference() -> None:
    made = model()
    names = list(made.sensors)
    metric = decoded_metric(made, names)
    apart = torch.randn(made.config.latents, dtype=torch.float64)
    decoded = [made.sensor(name).decoder.linear.detach().double() @ apart for name in names]
    wanted = sum(float(own.square().sum()) for own in decoded)
    assert float((metric @ apart).square().sum()) == pytest.approx(wanted, rel=1e-6)
    torch.testing.assert_close(metric, metric.T)
    assert float(torch.linalg.eigvalsh(metric).min()) > -1e-9


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    mapped = random_map(3)
    assert not AnnualMap.is_in(tmp_path)
    mapped.save(tmp_path)
    read = AnnualMap.load(tmp_path)
    assert read.digest() == mapped.digest() != random_map(3, seed=1).digest()
    assert torch.equal(read.first(2).weights, mapped.weights[:2])
    assert read.first(2).digest() != read.digest()
    with pytest.raises(ValueError, match="1 to 5 components, not 6"):
        read.first(6)


def test_a_model_without_a_map_or_with_a_damaged_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no map of years to components"):
        AnnualMap.load(tmp_path)
    random_map(3).save(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="copy the folder again"):
        AnnualMap.load(tmp_path)
