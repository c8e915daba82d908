"""Looks that the others contradict count less: Student-t weights from what the others predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.coregionalisation import Sites, smooth_looks

__all__ = ["DOF", "ROUNDS", "weigh_looks"]

DOF = 4.0
"""Degrees of freedom of the Student-t that a look's bands share."""

ROUNDS = 2
"""Times that all looks are weighed."""


def weigh_looks(
    sites: Mapping[str, Sites], lengthscale: Tensor, rounds: int = ROUNDS
) -> dict[str, Sites]:
    r"""Scale the precision of each look by its expected weight given all other looks.

    .. math:: \tau = \frac{\nu + B}{\nu + d^2}

    where d is the Mahalanobis distance of all B valid bands from what the other looks of all
    sensors predict (the cavity), so that a look cannot vouch for itself.

    Args:
        sites: By sensor name.
        lengthscale: shape (Q,), days.
        rounds: With 0 the looks stay as they are.
    """
    weighed = dict(sites)
    for _ in range(rounds):
        found = smooth_looks(
            weighed, lengthscale, {name: each.days for name, each in weighed.items()}
        )
        for name, each in weighed.items():
            distance = _cavity_distance(each, found[name].mean, found[name].covariance)
            weight = (DOF + each.count) / (DOF + distance + each.rest)
            weighed[name] = replace(each, w=torch.where(each.w > 0, weight, 0.0))
    return weighed


def _cavity_distance(sites: Sites, mean: Tensor, covariance: Tensor) -> Tensor:
    """Squared distance (T, N) of e from its prediction without itself, at weight 1.

    With S = A V A^T of the posterior that has the look at precision w, that without it predicts
    e with covariance I + (I - w S)^-1 S, and misses it by (I - w S)^-1 (e - A m).
    """
    a = sites.mixing.permute(2, 3, 0, 1).contiguous()
    told = a @ covariance.permute(2, 3, 0, 1).contiguous() @ a.mT
    missed = sites.e.permute(1, 2, 0)[..., None] - a @ mean.permute(1, 2, 0)[..., None]
    eye = torch.eye(told.shape[-1], dtype=told.dtype, device=told.device)
    lost = eye - sites.w[..., None, None] * told
    alone = torch.linalg.solve(lost, torch.cat([missed, told], -1))
    missed, told = alone[..., :1], alone[..., 1:]
    lower = torch.linalg.cholesky(eye + 0.5 * (told + told.mT))
    scaled = torch.linalg.solve_triangular(lower, missed, upper=False)
    distance: Tensor = scaled.square().sum((-2, -1))
    return distance
