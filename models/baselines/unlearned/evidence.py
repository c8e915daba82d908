"""The coregionalisation of bands and sensors, fitted to a sample of series by evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from gpytorch.constraints import Interval
from gpytorch.distributions import MultivariateNormal
from gpytorch.kernels import IndexKernel, MaternKernel
from torch import Tensor, nn

from terralatent.models.baselines.unlearned.band_series import BandSeries
from terralatent.models.baselines.unlearned.coregionalisation import (
    Coregionalisation,
    project_observations,
)
from terralatent.models.baselines.unlearned.robust import weigh_observations
from terralatent.models.kernels.matern import LONGEST, SHORTEST

__all__ = ["Covariance", "Sample", "fit_coregionalisation"]

STEPS = (30, 10)
"""Steps of the fit, and of the one after the observations were weighed."""

RATE = 0.08

PIXELS = 20
"""Series whose evidence is counted."""

OBSERVATIONS = 12
"""Observations of each sensor that are drawn from a series."""

BIN_DAYS = 10.0
"""Observations this close show how bands of sensors with other days go together."""

SHORT, LONG = 25.0, 250.0
"""Lengthscales in days that the processes start from, half of them each."""

SMALLEST = 1e-3
"""Least variance of a band's noise, in units of the band's own variance."""


@dataclass(frozen=True)
class Sample:
    """Values of P pixels at K observations each, with the same bands at the k-th of all: M rows."""

    values: Tensor
    """z, shape (P, M), float64."""

    days: Tensor
    """Of the observations, shape (P, K), float64."""

    output: Tensor
    """Which of the L outputs, shape (M,)."""

    observation: Tensor
    """Which observation, from 0 to K - 1, shape (M,)."""

    weight: Tensor
    """By which the noise's variance is divided, shape (P, K)."""


class Covariance(nn.Module):
    """Matérn-3/2 kernels, each with its own mixing, and noise that an observation's bands share."""

    def __init__(self, mixing: Tensor, lengthscale: Tensor, noise: Tensor) -> None:
        super().__init__()
        self.mixing = nn.Parameter(mixing.double())
        self.matern = nn.ModuleList()
        for days in lengthscale:
            matern = MaternKernel(nu=1.5, lengthscale_constraint=Interval(SHORTEST, LONGEST))
            matern.lengthscale = days
            self.matern.append(matern)
        outputs = len(mixing)
        self.noise = IndexKernel(num_tasks=outputs, rank=min(2, outputs))
        self.noise.covar_factor.data = 0.1 * torch.ones_like(self.noise.covar_factor).tril()
        self.noise.var = noise.float()
        self.double()

    def forward(self, sample: Sample) -> Tensor:
        """Return the covariance of a sample's rows, shape (P, M, M)."""
        output = sample.output
        # From observations to rows by products: their gradient is quicker than that of indices, and
        # all bands of two observations are the same time apart.
        rows = torch.nn.functional.one_hot(sample.observation, sample.days.shape[1]).double()
        same = rows @ torch.diag_embed(1.0 / sample.weight) @ rows.T
        total: Tensor = same * self.noise.covar_matrix.to_dense()[output][:, output]
        for factor, matern in zip(self.mixing.T, self.matern, strict=True):
            mixed = rows * factor[output][:, None]
            total = total + mixed @ matern(sample.days.unsqueeze(-1)).to_dense() @ mixed.T
        return total

    def lengthscale(self) -> Tensor:
        """Of each process in days, shape (Q,)."""
        days = [cast(MaternKernel, kernel).lengthscale for kernel in self.matern]
        return torch.stack([scale.detach().reshape(()) for scale in days])


def fit_coregionalisation(
    pool: Mapping[str, BandSeries], places: Mapping[str, slice], latents: int, seed: int
) -> Coregionalisation | None:
    """Fit mixing, noise and lengthscales by the evidence of sampled series, robustly.

    First as if all observations were clear, then with the noise of each as large as its weight
    says (an EM step of the Student-t).

    Args:
        pool: Series of the same pixels, by sensor name.
        places: Of each sensor's bands among the outputs.
        latents: Number of processes Q.
        seed: Of the draw.

    Returns:
        None if no pixel has observations of the sensors that the pool has.
    """
    sample, drawn = draw_sample(pool, places, seed)
    if sample is None:
        return None
    mixing, noise = _first_guess(pool, places, latents)
    half = torch.arange(latents) % 2 == 0
    covariance = Covariance(mixing, torch.where(half, SHORT, LONG).double(), noise)
    with torch.enable_grad():
        _climb(covariance, sample, STEPS[0])
    fitted = _fitted(covariance, places)
    weighed = _weighed(sample, drawn, pool, places, fitted)
    with torch.enable_grad():
        _climb(covariance, weighed, STEPS[1])
    return _fitted(covariance, places)


def _first_guess(
    pool: Mapping[str, BandSeries], places: Mapping[str, slice], latents: int
) -> tuple[Tensor, Tensor]:
    """Mixing (L, Q) from principal components over all sensors' bands, and noise (L,)."""
    outputs = max(place.stop for place in places.values())
    first = min(float(series.days[0]) for series in pool.values() if len(series.days))
    last = max(float(series.days[-1]) for series in pool.values() if len(series.days))
    bins = int((last - first) // BIN_DAYS) + 1
    pixels = len(next(iter(pool.values())))
    total, count = (torch.zeros(pixels, bins, outputs, dtype=torch.float64) for _ in range(2))
    for name, series in pool.items():
        slot = ((series.days - first) / BIN_DAYS).long()
        total[..., places[name]].index_add_(1, slot, series.values.double())
        count[..., places[name]].index_add_(1, slot, series.valid.double())
    mean = (total / count.clamp_min(1.0)).clamp(-4.0, 4.0).flatten(0, 1)
    known = (count > 0).double().flatten(0, 1)
    together = mean.T @ mean / (known.T @ known).clamp_min(1.0)
    strength, axes = torch.linalg.eigh(together)
    axes = axes * torch.where(axes.sum(0) < 0.0, -1.0, 1.0)
    directions = (axes * strength.clamp_min(1e-3).sqrt()).flip(-1)
    # Two processes for each direction, a short one and a long one.
    where = torch.arange(latents) // 2
    return 0.7 * directions[:, where], torch.full((outputs,), 0.2, dtype=torch.float64)


def _climb(covariance: Covariance, sample: Sample, steps: int) -> None:
    """Raise the evidence of the sample by Adam."""
    learnt = [part for part in covariance.parameters() if part.requires_grad]
    optimiser = torch.optim.Adam(learnt, lr=RATE)
    jitter = 1e-5 * torch.eye(sample.values.shape[1], dtype=torch.float64)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, 2.0 * (1.0 - step / steps))
        optimiser.zero_grad()
        prior = MultivariateNormal(torch.zeros_like(sample.values), covariance(sample) + jitter)
        (-prior.log_prob(sample.values).sum() / sample.values.numel()).backward()
        optimiser.step()


def _fitted(covariance: Covariance, places: Mapping[str, slice]) -> Coregionalisation:
    mixing, noise = covariance.mixing.detach(), covariance.noise.covar_matrix.to_dense().detach()
    return Coregionalisation(
        {name: mixing[place] for name, place in places.items()},
        {
            name: noise[place, place]
            + SMALLEST * torch.eye(place.stop - place.start, dtype=torch.float64)
            for name, place in places.items()
        },
        covariance.lengthscale(),
    )


def _weighed(
    sample: Sample,
    drawn: Mapping[str, tuple[Tensor, Tensor]],
    pool: Mapping[str, BandSeries],
    places: Mapping[str, slice],
    fitted: Coregionalisation,
) -> Sample:
    """The sample with the noise of each observation as wide as all of the pixel's series says."""
    pixels = next(iter(drawn.values()))[0]
    sites = {
        name: project_observations(
            BandSeries(series.days, series.values[pixels], series.valid[pixels]),
            fitted.mixing[name],
            fitted.noise[name],
        )
        for name, series in pool.items()
        if len(series.days)
    }
    weighed = weigh_observations(sites, fitted.lengthscale)
    weights: list[Tensor] = []
    for name, (_, dates) in sorted(drawn.items()):
        weights.append(weighed[name].w.T.gather(1, dates).double())
    return replace(sample, weight=torch.cat(weights, 1))


def draw_sample(
    pool: Mapping[str, BandSeries], places: Mapping[str, slice], seed: int
) -> tuple[Sample | None, dict[str, tuple[Tensor, Tensor]]]:
    """Draw some observations of some pixels: half of a pixel's in a row, for short lags too.

    Returns:
        The sample, and for each sensor the pixels (P,) and their dates (P, drawn).
    """
    generator = torch.Generator().manual_seed(seed)
    whole = {name: series.valid.all(-1) for name, series in pool.items()}
    whole = {name: mask for name, mask in whole.items() if bool(mask.any())}
    wanted = {
        name: min(OBSERVATIONS, max(2, int(mask.sum(1).float().quantile(0.2))))
        for name, mask in whole.items()
    }
    usable = [
        (mask.sum(1) >= wanted[name]).nonzero()[:, 0].tolist() for name, mask in whole.items()
    ]
    shared = sorted(set.intersection(*map(set, usable))) if usable else []
    if not shared:
        return None, {}
    order = torch.randperm(len(shared), generator=generator)[:PIXELS].tolist()
    pixels = torch.tensor([shared[at] for at in order])
    drawn, values, days, outputs, observations = {}, [], [], [], []
    begun = 0
    for name, mask in sorted(whole.items()):
        dates = torch.stack([_some_dates(mask[pixel], wanted[name], generator) for pixel in pixels])
        drawn[name] = (pixels, dates)
        bands = places[name].stop - places[name].start
        values.append(pool[name].values[pixels[:, None], dates].double().flatten(1))
        days.append(pool[name].days[dates])
        outputs.append(torch.arange(places[name].start, places[name].stop).repeat(wanted[name]))
        observations.append(begun + torch.arange(wanted[name]).repeat_interleave(bands))
        begun += wanted[name]
    whole_values, whole_days = torch.cat(values, 1), torch.cat(days, 1)
    return Sample(
        whole_values,
        whole_days - whole_days.mean(),
        torch.cat(outputs),
        torch.cat(observations),
        torch.ones_like(whole_days),
    ), drawn


def _some_dates(seen: Tensor, count: int, generator: torch.Generator) -> Tensor:
    dates = seen.nonzero()[:, 0]
    start = int(torch.randint(len(dates) - count // 2 + 1, (), generator=generator))
    row = torch.zeros(len(dates), dtype=torch.bool)
    row[start : start + count // 2] = True
    others = dates[~row]
    more = others[torch.randperm(len(others), generator=generator)[: count - count // 2]]
    return torch.cat([dates[row], more]).sort().values
