"""Calendars with sites on them, and what dense algebra in float64 says of them.

Nothing here shares code with what it judges, but for one constant: the covariances are the
textbook's, in numpy.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ive
from torch import Tensor

from terralatent.models.kernels import (
    Constant,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    Product,
    Sum,
    TemporalKernel,
    White,
)
from terralatent.models.posteriors.tridiagonal import WHITE

LATENTS = 3
LENGTHSCALES = torch.tensor([8.5, 60.0, 1500.0])
MINUTE = 1.0 / 1440.0

KERNELS: dict[str, Callable[[], TemporalKernel]] = {
    "constant": lambda: Constant(LATENTS),
    "matern12": lambda: Matern12(LATENTS, LENGTHSCALES),
    "matern32": lambda: Matern32(LATENTS, LENGTHSCALES),
    "matern52": lambda: Matern52(LATENTS, LENGTHSCALES),
    "periodic": lambda: Periodic(LATENTS, torch.tensor([40.0, 60.0, 200.0]), harmonics=3),
    "quasiperiodic": lambda: Product([Periodic(LATENTS, 50.0), Matern32(LATENTS, LENGTHSCALES)]),
    "default": lambda: Sum(
        [Constant(LATENTS), Matern32(LATENTS, LENGTHSCALES)], torch.tensor([0.4, 0.6])
    ),
    "white": lambda: Sum(
        [Matern32(LATENTS, LENGTHSCALES), White(LATENTS)], torch.tensor([0.7, 0.3])
    ),
    "product": lambda: Product([Matern12(LATENTS, LENGTHSCALES), Matern52(LATENTS)]),
    "four": lambda: Sum(
        [Matern12(LATENTS, LENGTHSCALES.flip(0)), Constant(LATENTS), Matern32(LATENTS)],
        torch.tensor([0.3, 0.2, 0.5]),
    ),
}


class Case(NamedTuple):
    """A calendar with sites on it, float64."""

    days: Tensor
    w: Tensor
    eta: Tensor
    queries: Tensor

    def to(self, dtype: torch.dtype) -> "Case":
        return self._replace(w=self.w.to(dtype), eta=self.eta.to(dtype))


def make_case(series: int = 5, largest: float = 100.0, seed: int = 0) -> Case:
    """Return irregular sites: repeated days, 1-minute pairs, a 2-year gap, 0 to T seen."""
    rng = torch.Generator().manual_seed(seed)
    days = 19_000.0 + 300.0 * torch.rand(24, generator=rng).double().sort().values
    days[4] = days[3]
    days[9] = days[8] + MINUTE
    days[16:] += 730.0
    shape = (series, len(days), LATENTS)
    w = 10.0 ** (torch.rand(shape, generator=rng).double() * 4.0 - 4.0) * largest
    w *= torch.rand(shape, generator=rng) < torch.linspace(0.0, 1.0, series)[:, None, None]
    w[1:2] = 0.0
    w[1:2, 7] = 0.5 * largest  # after an empty series, one with a single site
    y = torch.randn(shape, generator=rng).double() + 0.5 * days[None, :, None].sub(19_000).div(90)
    queries = torch.tensor([20_500.0, 19_500.5, 18_000.0, float(days[8]), float(days[8]), 19_033.3])
    return Case(days, w, w * y, queries.double())


def _covariance(kernel: TemporalKernel, latent: int, lag: np.ndarray) -> np.ndarray:
    """Return the covariance of one kernel that is no sum, by the formulas of the textbook."""
    if isinstance(kernel, Product):
        factors = [_covariance(each, latent, lag) for each in kernel.factors]  # type: ignore
        return np.prod(factors, axis=0)
    if isinstance(kernel, Constant):
        return np.ones_like(lag)
    if isinstance(kernel, White):
        return (lag == 0).astype(float)
    ell = float(kernel.lengthscale[latent].detach())  # type: ignore[arg-type]
    d = np.abs(lag) / ell
    if isinstance(kernel, Matern12):
        return np.exp(-d)
    if isinstance(kernel, Matern32):
        return (1 + np.sqrt(3) * d) * np.exp(-np.sqrt(3) * d)
    if isinstance(kernel, Matern52):
        return (1 + np.sqrt(5) * d + 5 / 3 * d**2) * np.exp(-np.sqrt(5) * d)
    assert isinstance(kernel, Periodic)
    z = (kernel.period / (2 * np.pi * ell)) ** 2
    orders = np.arange(kernel.harmonics + 1)
    shares = ive(orders, z) * np.where(orders > 0, 2, 1)
    angles = 2 * np.pi * lag[..., None] * orders / kernel.period
    return np.cos(angles) @ (shares / shares.sum())


def prior(kernel: TemporalKernel, latent: int, lag: np.ndarray) -> list[np.ndarray]:
    """Return the covariance of each part at ``lag``."""
    if not isinstance(kernel, Sum):
        return [_covariance(kernel, latent, lag)]
    weights = kernel.weights[latent].tolist()
    return [
        weight * _covariance(term, latent, lag)  # type: ignore[arg-type]
        for weight, term in zip(weights, kernel.terms, strict=True)
    ]


class Answer(NamedTuple):
    """What dense conditioning gives, each array as in a Posterior; parts as ``components``."""

    mean: np.ndarray
    var: np.ndarray
    query_mean: np.ndarray
    query_var: np.ndarray
    kl: np.ndarray
    evidence: np.ndarray
    part_mean: np.ndarray
    part_var: np.ndarray


def oracle(kernel: TemporalKernel, case: Case) -> Answer:
    """Condition a dense Gaussian on the seen sites of each series and latent, one by one."""
    days, queries = case.days.numpy(), case.queries.numpy()
    everywhere = np.concatenate([days, queries])
    n, t, latents = case.w.shape
    mean = np.zeros((n, len(everywhere), latents))
    var = np.zeros_like(mean)
    kl, evidence = np.zeros((n, latents)), np.zeros((n, latents))
    parts = len(kernel.parts)
    part_mean = np.zeros((n, len(queries), latents, parts))
    part_var = np.zeros_like(part_mean)
    for i in range(n):
        for latent in range(latents):
            seen = np.flatnonzero(case.w[i, :, latent].numpy() > 0)
            w = case.w[i, seen, latent].numpy()
            y = case.eta[i, seen, latent].numpy() / w
            k = sum(prior(kernel, latent, days[seen, None] - days[seen]))
            noisy = k + np.diag(1 / w)
            cross = sum(prior(kernel, latent, everywhere[:, None] - days[seen]))
            gain = np.linalg.solve(noisy, cross.T).T
            mean[i, :, latent] = gain @ y
            var[i, :, latent] = 1.0 - (gain * cross).sum(1)
            log_det = np.linalg.slogdet(noisy)[1]
            evidence[i, latent] = -0.5 * (
                y @ np.linalg.solve(noisy, y) + log_det + len(seen) * np.log(2 * np.pi)
            )
            # KL of the Gaussians at the seen days, through eigenvalues of S K S.
            shrunk = np.linalg.eigvalsh(np.sqrt(w)[:, None] * k * np.sqrt(w))
            quadratic = np.linalg.solve(noisy, y)
            kl[i, latent] = 0.5 * (
                np.sum(np.log1p(shrunk) - shrunk / (1 + shrunk)) + quadratic @ k @ quadratic
            )
            for part in range(parts):
                here = prior(kernel, latent, queries[:, None] - days[seen])[part]
                gain = np.linalg.solve(noisy, here.T).T
                part_mean[i, :, latent, part] = gain @ y
                own = prior(kernel, latent, np.zeros(1))[part]
                part_var[i, :, latent, part] = own - (gain * here).sum(1)
    return Answer(
        mean[:, :t], var[:, :t], mean[:, t:], var[:, t:], kl.sum(1), evidence, part_mean, part_var
    )


def rounding(k: np.ndarray) -> float:
    """Return how far float64 may take apart two ways of solving with a covariance matrix.

    Its entries and their elimination are rounded by n eps at most, relative to the largest, and
    solving multiplies that by the condition number; by 4 for solving twice, each way.
    """
    return float(4 * len(k) * np.finfo(float).eps * np.linalg.cond(k))


def prior_of(kernel: TemporalKernel, latent: int, days: np.ndarray) -> np.ndarray:
    """Return the prior covariance of different days, with the share of each day alone."""
    between = sum(prior(kernel, latent, days[:, None] - days))
    return (1 - WHITE) * between + WHITE * np.eye(len(days))  # type: ignore[no-any-return]


def digits_left(kernel: TemporalKernel, case: Case) -> float:
    """Return how far roundings may move what is solved with the dense prior of a calendar."""
    days = np.unique(case.days.numpy())
    return max(rounding(prior_of(kernel, latent, days)) for latent in range(LATENTS))


def assert_near(got: Tensor, want: np.ndarray | Tensor, tolerance: float) -> None:
    """Compare absolutely below 1 and relatively above."""
    want = torch.as_tensor(want)
    torch.testing.assert_close(got.detach().to(want), want, rtol=tolerance, atol=tolerance)
