"""Observations that the others contradict count less: Student-t weights by what these predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.coregionalisation import Sites, smooth_observations

__all__ = ["DOF", "ROUNDS", "weigh_observations"]

DOF = 4.0
"""Degrees of freedom of the Student-t that the bands of an observation share."""

ROUNDS = 2
"""Times that all observations are weighed."""


def weigh_observations(
    sites: Mapping[str, Sites], lengthscale: Tensor, rounds: int = ROUNDS
) -> dict[str, Sites]:
    r"""Scale the precision of each observation by its expected weight given all others.

    .. math:: \tau = \frac{\nu + B}{\nu + d^2}

    where d is the Mahalanobis distance of all B valid bands from what the other observations of
    all sensors predict (the cavity), so that none can vouch for itself.

    Args:
        sites: By sensor name.
        lengthscale: shape (Q,), days.
        rounds: With 0 the precisions stay as they are.
    """
    weighed = dict(sites)
    for _ in range(rounds):
        smoothed = smooth_observations(
            weighed, lengthscale, {name: own.days for name, own in weighed.items()}
        )
        for name, own in weighed.items():
            distance = _cavity_distance(own, smoothed[name].mean, smoothed[name].covariance)
            weight = (DOF + own.count) / (DOF + distance + own.rest)
            weighed[name] = replace(own, w=torch.where(own.w > 0, weight, 0.0))
    return weighed


def _cavity_distance(sites: Sites, mean: Tensor, covariance: Tensor) -> Tensor:
    """Squared distance (T, N) of e from its prediction without itself, at weight 1.

    With S = A V A^T of the posterior that has the observation at precision w, that without it
    predicts e with covariance I + (I - w S)^-1 S, and misses it by (I - w S)^-1 (e - A m).
    """
    a = sites.mixing.permute(2, 3, 0, 1).contiguous()
    known = a @ covariance.permute(2, 3, 0, 1).contiguous() @ a.mT
    missed = sites.e.permute(1, 2, 0)[..., None] - a @ mean.permute(1, 2, 0)[..., None]
    eye = torch.eye(known.shape[-1], dtype=known.dtype, device=known.device)
    lost = eye - sites.w[..., None, None] * known
    alone = torch.linalg.solve(lost, torch.cat([missed, known], -1))
    missed, known = alone[..., :1], alone[..., 1:]
    lower = torch.linalg.cholesky(eye + 0.5 * (known + known.mT))
    scaled = torch.linalg.solve_triangular(lower, missed, upper=False)
    distance: Tensor = scaled.square().sum((-2, -1))
    return distance
