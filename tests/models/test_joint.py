"""The joint posterior of a series' latents over a few days, and what of them never changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from terralatent.models import GPVAE
from terralatent.models.kernels import make_kernel
from terralatent.models.posteriors import make_posterior
from terralatent.models.posteriors.contract import Inference
from terralatent.models.posteriors.kalman.dispatch import COMPILED_FROM
from terralatent.models.posteriors.markov import Markov
from tests.models.test_gpvae import OPTICAL, QUERY, model, observe, scene

DRAWS = 4000


def changed(kernel: str) -> GPVAE:
    """A model of another kernel, with the networks of the others."""
    made = model()
    other = GPVAE(made.config.model_copy(update={"kernel": kernel}))
    weights = {name: own for name, own in made.state_dict().items() if "kernel" not in name}
    other.load_state_dict(weights, strict=False)
    return other


def by_hand(made: GPVAE, seen: dict, constant: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance at the query days by the textbook, in numpy, site by site.

    With ``constant`` those of the constant part, whose covariance with all is its own.
    """
    sites = made.sites(seen)
    days, query = sites.days.numpy(), QUERY.numpy()
    level, decay = made.kernel.part_covariance(torch.zeros(1))[0].detach().numpy().T
    lengthscale = made.kernel.timescales()["matern12"].detach().numpy()
    means, covs = [], []
    for pixel in range(len(sites.w)):
        rows = []
        for latent in range(sites.w.shape[2]):

            def k(a: np.ndarray, b: np.ndarray, latent: int = latent) -> np.ndarray:
                lag = np.abs(a[:, None] - b[None, :])
                return level[latent] + decay[latent] * np.exp(-lag / lengthscale[latent])

            w = sites.w[pixel, :, latent].detach().double().numpy()
            eta = sites.eta[pixel, :, latent].detach().double().numpy()
            own = w > 0
            noisy = k(days[own], days[own]) + np.diag(1.0 / w[own])
            cross = k(query, days[own])
            prior = k(query, query)
            if constant:
                cross, prior = (
                    np.full_like(cross, level[latent]),
                    np.full_like(prior, level[latent]),
                )
            gain = np.linalg.solve(noisy, cross.T).T
            rows.append((gain @ (eta[own] / w[own]), prior - gain @ cross.T))
        means.append([mean for mean, _ in rows])
        covs.append([cov for _, cov in rows])
    return np.array(means).transpose(0, 2, 1), np.array(covs)


@pytest.fixture
def made() -> GPVAE:
    return changed("constant+matern12").eval()


def test_the_joint_posterior_is_the_textbooks(made: GPVAE) -> None:
    mean, cov = made.joint(scene(), QUERY)
    wanted_mean, wanted_cov = by_hand(made, scene())
    np.testing.assert_allclose(mean, wanted_mean, atol=2e-5)
    np.testing.assert_allclose(cov, wanted_cov, atol=2e-5)


@pytest.mark.parametrize("posterior", ["markov", "exact"])
def test_its_diagonal_is_what_is_inferred(made: GPVAE, posterior: str) -> None:
    made.inference = make_posterior(posterior, None)
    mean, cov = made.joint(scene(), QUERY)
    marginal, var = made.infer(scene(), QUERY)
    torch.testing.assert_close(mean, marginal, atol=2e-5, rtol=1e-4)
    diagonal = cov.diagonal(dim1=-2, dim2=-1).transpose(1, 2)
    torch.testing.assert_close(diagonal, var, atol=2e-5, rtol=1e-4)


def test_draws_have_it(made: GPVAE) -> None:
    """Of ``DRAWS`` draws a covariance is within 5 sqrt(2 / DRAWS) of prior variances."""
    sites = made.sites(scene())
    drawn = made.inference.sample(
        made.kernel, sites.days, sites.w, sites.eta, QUERY, DRAWS, torch.Generator().manual_seed(1)
    )
    mean, cov = made.joint(scene(), QUERY)
    away = drawn - drawn.mean(0)
    theirs = torch.einsum("snql,snrl->nlqr", away, away) / (DRAWS - 1)
    torch.testing.assert_close(drawn.mean(0), mean, atol=5 / DRAWS**0.5, rtol=0)
    torch.testing.assert_close(theirs, cov, atol=5 * (2 / DRAWS) ** 0.5, rtol=0)


def test_an_order_of_days_means_nothing_to_it(made: GPVAE) -> None:
    order = torch.tensor([2, 0, 3, 1])
    mean, cov = made.joint(scene(), QUERY)
    other_mean, other_cov = made.joint(scene(), QUERY[order])
    torch.testing.assert_close(other_mean, mean[:, order])
    torch.testing.assert_close(other_cov, cov[:, :, order][:, :, :, order])


def test_what_never_changes_is_the_textbooks(made: GPVAE) -> None:
    found = made.static(scene())
    assert found is not None
    mean, cov = by_hand(made, scene(), constant=True)
    np.testing.assert_allclose(found[0], mean[:, 0], atol=2e-5)
    np.testing.assert_allclose(found[1], cov[:, :, 0, 0], atol=2e-5)


def test_without_observations_it_is_the_prior(made: GPVAE) -> None:
    blind = observe(4, 25, 1)
    nothing = {OPTICAL: replace(blind, valid=torch.zeros_like(blind.valid))}
    mean, cov = made.joint(nothing, QUERY)
    assert torch.equal(mean, torch.zeros_like(mean))
    lag = QUERY[:, None] - QUERY
    wanted = made.kernel.covariance(lag).movedim(-1, 0).float().expand_as(cov)
    torch.testing.assert_close(cov, wanted)
    found = made.static(nothing)
    assert found is not None
    assert torch.equal(found[0], torch.zeros_like(found[0]))


def test_a_kernel_without_a_constant_has_nothing_static() -> None:
    made = changed("matern12")
    assert not made.has_static
    assert made.static(scene()) is None


@pytest.mark.parametrize(
    "kernel", ["constant+matern32", pytest.param("matern12", marks=pytest.mark.soak)]
)
def test_the_compiled_walk_is_the_difference_from_the_prior(kernel: str) -> None:
    """Many series take a compiled walk; the contract's own way, in float64, is the oracle."""
    latents, pixels, dates = 3, 1_200, 60
    generator = torch.Generator().manual_seed(2)
    own = make_kernel(kernel, latents)
    days = 17_500.0 + torch.rand(dates, generator=generator).double().sort().values * 365
    query = 17_490.0 + 400.0 * torch.rand(7, generator=generator).double()
    query[3] = days[10]  # on a day that was seen, and twice
    query[5] = days[10]
    seen = torch.rand(pixels, dates, 1, generator=generator) < 0.4
    w = torch.where(seen, 100.0 * torch.rand(pixels, dates, latents, generator=generator), 0.0)
    eta = w * torch.randn(pixels, dates, latents, generator=generator)
    w[0], eta[0] = 0.0, float("nan")  # never seen
    form = Markov()
    assert pixels * latents * (dates + len(query)) >= COMPILED_FROM
    with torch.no_grad():
        mean, cov = form.joint(own, days, w, eta, query)
        few = slice(0, 40)
        theirs = Inference.joint(form, own, days, w[few].double(), eta[few].double(), query)
    # Filtered in float32: errors of a few hundred roundings of a variance of one.
    torch.testing.assert_close(mean[few].double(), theirs[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(cov[few].double(), theirs[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(cov, cov.mT)
    torch.testing.assert_close(mean[:, 3], mean[:, 5])
    weights = torch.randn(4, len(query), latents, generator=generator)
    with torch.no_grad():
        functionals = form.functionals(own, days, w, eta, query, weights)
    whole = torch.einsum("kql,nlqr,krl->nk", weights, cov, weights)
    torch.testing.assert_close(functionals[1], whole, atol=1e-4, rtol=1e-4)
    wanted = torch.einsum("kql,nql->nk", weights, mean)
    torch.testing.assert_close(functionals[0], wanted, atol=1e-4, rtol=1e-4)
