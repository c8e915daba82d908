"""Laws of the likelihoods: SciPy's densities, exact marginals, quantiles that cover."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from terralatent.models.sensor.likelihoods import (
    DOF_RANGE,
    Gaussian,
    StudentT,
    likelihood,
    quadratic,
)
from terralatent.models.sensor.predictive import (
    predictive_log_density,
    quantile_table,
    upper_quantile,
)

BANDS, ROWS = 6, 30


def draw(
    dtype: torch.dtype = torch.float64, columns: int = 2
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    valid = torch.rand(ROWS, BANDS, generator=generator) < 0.6
    valid[0], valid[1] = True, False
    rows = (normal(ROWS, BANDS) for _ in range(3))
    return 3.0 * next(rows), valid, *rows, normal(BANDS, columns)


def by_scipy(name: str, dof: float, columns: int = 2) -> list[float]:
    values, valid, location, log_diag, factor = (x.numpy() for x in draw(columns=columns))
    densities = []
    for row in range(ROWS):
        keep = valid[row]
        if not keep.any():
            densities.append(0.0)
            continue
        scale = (np.diag(np.exp(log_diag[row])) + factor @ factor.T)[np.ix_(keep, keep)]
        law = (
            stats.multivariate_t(location[row][keep], scale, df=dof)
            if name == "student"
            else stats.multivariate_normal(location[row][keep], scale)
        )
        densities.append(float(law.logpdf(values[row][keep])))
    return densities


@pytest.mark.parametrize(
    ("name", "dof"), [("student", 2.5), ("student", 7.0), ("student", 45.0), ("gaussian", 0.0)]
)
def test_the_density_is_that_of_scipy_over_the_valid_bands(name: str, dof: float) -> None:
    law = likelihood(name).double()
    if isinstance(law, StudentT):
        law.set_dof(dof)

    got = law.log_prob(*draw())

    expected = torch.tensor(by_scipy(name, dof), dtype=torch.float64)
    torch.testing.assert_close(got.detach(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("columns", [0, 1, 4])
def test_any_number_of_nuisance_latents_has_the_density_of_scipy(columns: int) -> None:
    law = StudentT().double()
    law.set_dof(7.0)

    got = law.log_prob(*draw(columns=columns))

    expected = torch.tensor(by_scipy("student", 7.0, columns), dtype=torch.float64)
    torch.testing.assert_close(got.detach(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["student", "gaussian"])
@pytest.mark.parametrize("junk", [math.nan, math.inf])
def test_what_is_masked_changes_no_density_and_no_gradient(name: str, junk: float) -> None:
    values, valid, location, log_diag, factor = draw(torch.float32)
    results = []
    for under in (0.0, junk):
        law = likelihood(name)
        leaves = [x.clone().requires_grad_() for x in (location, log_diag, factor)]
        density = law.log_prob(torch.where(valid, values, under), valid, *leaves)
        density.sum().backward()
        results.append([density.detach(), *(leaf.grad for leaf in leaves)])

    for left, right in zip(*results, strict=True):
        assert torch.equal(left, right)
        assert bool(torch.isfinite(left).all())
    assert float(results[0][0][1]) == 0.0  # no band is valid there


def test_woodbury_keeps_its_digits_in_float32_where_one_haze_dominates() -> None:
    values, valid, _, log_diag, factor = draw()
    log_diag, factor = log_diag - 6.0, 3.0 * factor
    residual = torch.where(valid, values, 0.0)

    exact = quadratic(residual, valid, log_diag, factor)
    rough = quadratic(residual.float(), valid, log_diag.float(), factor.float())

    for got, wanted in zip(rough, exact, strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-3, atol=1e-3)


def test_degrees_of_freedom_stay_within_their_bounds() -> None:
    law = StudentT(dof=4.0)
    assert float(law.dof.detach()) == pytest.approx(4.0, rel=1e-5)
    assert float(law.variance_ratio().detach()) == pytest.approx(2.0, rel=1e-5)
    for extreme in (-1e4, 1e4):
        law.raw_dof.data.fill_(extreme)
        assert DOF_RANGE[0] - 1e-6 <= float(law.dof.detach()) <= DOF_RANGE[1] + 1e-5
    with pytest.raises(ValueError, match=r"dof must lie between 2\.1 and 50\.0, got 2"):
        law.set_dof(2.0)
    with pytest.raises(ValueError, match="no likelihood is called 'poisson'"):
        likelihood("poisson")


@pytest.mark.parametrize("dof", [2.5, 6.0, 40.0])
def test_quantiles_run_from_the_gaussian_to_the_student(dof: float) -> None:
    table = quantile_table(StudentT(dof).mixture(), 0.95)

    assert float(table[0]) == pytest.approx(stats.norm.ppf(0.95), rel=1e-5)
    assert float(table[-1]) == pytest.approx(stats.t.ppf(0.95, dof), rel=1e-4)
    gaussian = quantile_table(Gaussian().mixture(), 0.95)
    torch.testing.assert_close(gaussian, table[:1].expand_as(gaussian))


@pytest.mark.parametrize("dof", [2.5, 6.0])
@pytest.mark.parametrize("share", [0.03, 0.4, 0.9])
def test_quantiles_cover_what_they_claim(dof: float, share: float) -> None:
    rng = np.random.default_rng(0)
    signal, noise = 4.0 * (1.0 - share), 4.0 * share
    sample = math.sqrt(signal) * rng.standard_normal(400_000)
    sample += math.sqrt(noise) * rng.standard_t(dof, 400_000)

    table = quantile_table(StudentT(dof).mixture(), 0.95)
    reach = float(upper_quantile(table, torch.tensor(signal), torch.tensor(noise)))

    assert float((np.abs(sample) < reach).mean()) == pytest.approx(0.9, abs=0.002)


@pytest.mark.parametrize("name", ["student", "gaussian"])
def test_with_a_certain_surface_the_predictive_density_is_the_likelihood(name: str) -> None:
    values, valid, location, log_diag, factor = draw()
    law = likelihood(name).double()
    signal = torch.zeros(ROWS, BANDS, BANDS, dtype=torch.float64)

    got = predictive_log_density(values - location, valid, log_diag, factor, signal, law.mixture())

    wanted = law.log_prob(values, valid, location, log_diag, factor)
    torch.testing.assert_close(got, wanted.detach(), rtol=1e-6, atol=1e-4)


def test_the_gaussian_predictive_density_adds_the_covariances() -> None:
    values, valid, location, log_diag, factor = draw()
    root = torch.randn(ROWS, BANDS, 3, dtype=torch.float64)
    signal = root @ root.mT

    got = predictive_log_density(
        values - location, valid, log_diag, factor, signal, Gaussian().mixture()
    )

    for row in range(ROWS):
        keep = valid[row]
        total = torch.diag(log_diag[row].exp()) + factor @ factor.T + signal[row]
        wanted = (
            stats.multivariate_normal(
                location[row][keep].numpy(), total[keep][:, keep].numpy()
            ).logpdf(values[row][keep].numpy())
            if keep.any()
            else 0.0
        )
        assert float(got[row]) == pytest.approx(float(wanted), abs=1e-8)


def test_the_predictive_density_integrates_to_one() -> None:
    grid = torch.linspace(-400.0, 400.0, 160_001, dtype=torch.float64).unsqueeze(-1)
    density = predictive_log_density(
        grid,
        torch.ones_like(grid, dtype=torch.bool),
        torch.zeros_like(grid),
        torch.zeros(1, 2, dtype=torch.float64),
        torch.full((len(grid), 1, 1), 2.0, dtype=torch.float64),
        StudentT(4.0).mixture(),
    ).exp()

    assert float(torch.trapezoid(density, grid.squeeze(-1))) == pytest.approx(1.0, abs=1e-5)
