"""Covariances of bands from observations with outliers: clouds that no mask caught.

References:
    | ML estimation of the t distribution using EM and its extensions (Liu & Rubin, 1995)
"""

from __future__ import annotations

import torch
from torch import Tensor

DOF = 6.0
"""Degrees of freedom of the Student-t whose scatter stands for a covariance with outliers."""

STEPS = 12
"""Of the EM iteration for that scatter; it gains a factor of about 4 a step."""

FLOOR = 1e-4
"""Least variance of a direction, as a share of the mean one: for bands that repeat another."""


class TooFewObservationsError(ValueError):
    """There are not enough clear observations to start a training from."""


def robust_scatter(
    rows: Tensor, centre: Tensor | None = None, dof: float = DOF
) -> tuple[Tensor, Tensor]:
    """Return location (B,) and scatter (B, B) of a Student-t fitted to rows, float64.

    Args:
        rows: shape (M, B), M > B, finite.
        centre: The location if it is known, shape (B,).
        dof: Degrees of freedom of the Student-t.

    Raises:
        TooFewObservationsError: If there are no more rows than bands.
    """
    count, bands = rows.shape
    if count <= bands:
        raise TooFewObservationsError(
            f"a scatter of {bands} bands needs more than {bands} clear observations, got {count}; "
            "train on a longer period, a larger region or a sensor with more clear dates."
        )
    rows = rows.double()
    location = rows.median(0).values if centre is None else centre.double()
    scatter = _floored(torch.cov(rows.T).reshape(bands, bands))
    for _ in range(STEPS):
        away = rows - location
        distance = (away @ torch.linalg.inv(scatter) * away).sum(-1)
        weight = (dof + bands) / (dof + distance)
        if centre is None:
            location = (weight[:, None] * rows).sum(0) / weight.sum()
            away = rows - location
        scatter = _floored((weight[:, None] * away).T @ away / count)
    return location, scatter


def robust_regression(
    rows: Tensor, means: Tensor, variances: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Regress bands on latents that are known with a variance.

    Rows weigh as in a Student-t with the noise's scatter, so that clouds no mask caught count
    little. The regression on posterior means is consistent; the noise is what it leaves less what
    the latents' own variance explains.

    Args:
        rows: Bands, shape (M, B), float64.
        means: Posterior means of the latents, shape (M, K), float64.
        variances: Their variances, shape (M, K), float64.

    Returns:
        Intercept (B,), slopes (B, K) and noise covariance (B, B).
    """
    count, bands = rows.shape
    inputs = torch.cat([means, torch.ones(count, 1, dtype=means.dtype)], dim=1)
    weight = torch.ones(count, dtype=rows.dtype)
    ridge = 1e-3 * count * torch.eye(inputs.shape[1], dtype=rows.dtype)
    for _ in range(6):
        weighted = inputs * weight[:, None]
        slopes = torch.linalg.solve(inputs.T @ weighted + ridge, weighted.T @ rows)
        left = rows - inputs @ slopes
        scatter = (left * weight[:, None]).T @ left / count
        scatter = lifted(scatter, 1e-4 * scatter.diagonal())
        distance = (left @ torch.linalg.inv(scatter) * left).sum(-1)
        weight = (DOF + bands) / (DOF + distance)
    linear, centre = slopes[:-1].T, slopes[-1]
    noise = scatter * DOF / (DOF - 2.0) - linear * variances.mean(0) @ linear.T
    return centre, linear, lifted(noise, 0.2 * scatter.diagonal())


def diagonal_plus_factor(covariance: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Approximate a covariance (B, B) by a diagonal (B,) and a factor (B, rank).

    Principal factors, iterated: the diagonal is kept exactly.
    """
    total = covariance.diagonal()
    diagonal = total.clone()
    factor = covariance.new_zeros(len(total), rank)
    if rank == 0:
        return diagonal, factor
    for _ in range(50):
        strength, axes = torch.linalg.eigh(covariance - diagonal.diag())
        kept = min(rank, len(total))
        factor = factor.clone()
        factor[:, :kept] = axes[:, -kept:] * strength[-kept:].clamp_min(0.0).sqrt()
        diagonal = (total - factor.square().sum(-1)).clamp_min(0.02 * total)
    shrink = ((total - diagonal) / factor.square().sum(-1).clamp_min(1e-12)).clamp_max(1.0)
    return diagonal, factor * shrink.sqrt()[:, None]


def lifted(covariance: Tensor, floor: Tensor) -> Tensor:
    """Return a covariance with no direction below that of the diagonal matrix ``floor``."""
    root = floor.clamp_min(1e-8).sqrt()
    strength, axes = torch.linalg.eigh(covariance / root[:, None] / root)
    raised: Tensor = root[:, None] * (axes * strength.clamp_min(1.0) @ axes.T) * root
    return raised


def _floored(covariance: Tensor) -> Tensor:
    strength, axes = torch.linalg.eigh(covariance)
    strength = strength.clamp_min(FLOOR * float(strength.mean()) + 1e-12)
    floored: Tensor = axes * strength @ axes.T
    return floored
