"""How an observation scatters around what the decoder says, all bands together."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

DOF_RANGE = (2.1, 50.0)
"""Bounds of the Student-t's degrees of freedom; the variance is finite above 2."""

_LOG_TAU = torch.arange(-16.0, 4.0, 0.2, dtype=torch.float64)


class Likelihood(Protocol):
    r"""A mixture of Gaussians that share a location: N(loc, Sigma / tau), tau from a fixed law.

    Sigma = diag(exp(log_diag)) + factor factor^T over the bands. Missing bands are left out
    exactly, and nothing under the mask is read, in the gradient neither.
    """

    def log_prob(
        self, values: Tensor, valid: Tensor, location: Tensor, log_diag: Tensor, factor: Tensor
    ) -> Tensor:
        """Return the log density of each observation over its valid bands, 0 where none is.

        Args:
            values: shape (*, B), float32.
            valid: shape (*, B), bool.
            location: shape (*, B).
            log_diag: shape (*, B).
            factor: shape (B, U).

        Returns:
            shape (*).
        """

    def variance_ratio(self) -> Tensor:
        """Return the variance of an observation over its squared scale, a scalar."""

    def weight(self, distance: Tensor, count: Tensor) -> Tensor:
        """Return the expected tau of an observation of ``count`` bands at a squared distance.

        Args:
            distance: Squared Mahalanobis distance under Sigma, shape (*).
            count: Valid bands, shape (*).
        """

    def mixture(self) -> tuple[Tensor, Tensor]:
        """Return nodes tau (K,) and log weights (K,) of the law of tau, on the CPU, float64."""


def quadratic(
    residual: Tensor, valid: Tensor, log_diag: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Return the Mahalanobis distance and log-determinant under diag + factor, valid bands only.

    By Woodbury, with W the inverse diagonal (0 where not valid), M = I + F^T W F and
    c = M^-1 F^T W r, the squared distance is \|W^1/2 (r - F c)\|^2 + \|c\|^2: a sum of squares,
    which float32 keeps accurate where a difference would cancel.

    Args:
        residual: r, shape (*, B), finite; anything where not valid is multiplied by 0.
        valid: shape (*, B), bool.
        log_diag: shape (*, B).
        factor: F, shape (B, U); two columns are solved by hand, which is much faster.

    Returns:
        Squared distance and log-determinant, each shape (*).
    """
    weight = torch.where(valid, torch.exp(-log_diag), 0.0)
    if factor.shape[-1] != 2:
        return _quadratic(residual, valid, weight, log_diag, factor)
    first, second = factor[:, 0], factor[:, 1]
    m11 = 1.0 + (weight * first.square()).sum(-1)
    m22 = 1.0 + (weight * second.square()).sum(-1)
    m12 = (weight * (first * second)).sum(-1)
    weighted = weight * residual
    u1 = (weighted * first).sum(-1)
    u2 = (weighted * second).sum(-1)
    determinant = m11 * m22 - m12.square()
    c1 = (m22 * u1 - m12 * u2) / determinant
    c2 = (m11 * u2 - m12 * u1) / determinant
    rest = residual - c1.unsqueeze(-1) * first - c2.unsqueeze(-1) * second
    distance = (weight * rest.square()).sum(-1) + c1.square() + c2.square()
    log_determinant = torch.where(valid, log_diag, 0.0).sum(-1) + determinant.log()
    return distance, log_determinant


def _quadratic(
    residual: Tensor, valid: Tensor, weight: Tensor, log_diag: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor]:
    """:func:`quadratic` for any number of columns."""
    log_determinant = torch.where(valid, log_diag, 0.0).sum(-1)
    if factor.shape[-1] == 0:
        return (weight * residual.square()).sum(-1), log_determinant
    turned = weight.unsqueeze(-1) * factor
    system = factor.mT @ turned + torch.eye(factor.shape[-1]).to(factor)
    lower = torch.linalg.cholesky(system)
    projected = turned.mT @ residual.unsqueeze(-1)
    c = torch.cholesky_solve(projected, lower).squeeze(-1)
    rest = residual - c @ factor.mT
    distance = (weight * rest.square()).sum(-1) + c.square().sum(-1)
    spread = torch.diagonal(lower, dim1=-2, dim2=-1).log().sum(-1)
    return distance, log_determinant + 2.0 * spread


def _residual(values: Tensor, valid: Tensor, location: Tensor) -> Tensor:
    return torch.where(valid, torch.where(valid, values, 0.0) - location, 0.0)


class Gaussian(nn.Module):
    """The multivariate Gaussian: tau is always 1."""

    def log_prob(
        self, values: Tensor, valid: Tensor, location: Tensor, log_diag: Tensor, factor: Tensor
    ) -> Tensor:
        """See :meth:`Likelihood.log_prob`."""
        count = valid.sum(-1).to(location.dtype)
        distance, log_determinant = quadratic(
            _residual(values, valid, location), valid, log_diag, factor
        )
        density = -0.5 * (distance + log_determinant + count * math.log(2.0 * math.pi))
        return torch.where(count > 0, density, 0.0)

    def variance_ratio(self) -> Tensor:
        """See :meth:`Likelihood.variance_ratio`."""
        return torch.ones(())

    def weight(self, distance: Tensor, count: Tensor) -> Tensor:
        """See :meth:`Likelihood.weight`: 1."""
        return torch.ones_like(distance)

    def mixture(self) -> tuple[Tensor, Tensor]:
        """See :meth:`Likelihood.mixture`."""
        return torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)


class StudentT(nn.Module):
    r"""The multivariate Student-t: one scale mixture for all bands of an acquisition of a pixel.

    .. math:: \tau \sim Gamma(\nu / 2, \nu / 2), \quad x \sim N(\mu, \Sigma / \tau)

    One haze is one event in all bands, so they share tau. The degrees of freedom are learned
    within DOF_RANGE.

    Args:
        dof: Degrees of freedom to start from.
    """

    def __init__(self, dof: float = 6.0) -> None:
        super().__init__()
        self.raw_dof = nn.Parameter(torch.zeros(()))
        self.set_dof(dof)

    def set_dof(self, dof: float) -> None:
        """Set the degrees of freedom.

        Raises:
            ValueError: If ``dof`` is not inside DOF_RANGE.
        """
        low, high = DOF_RANGE
        if not low < dof < high:
            raise ValueError(f"dof must lie between {low} and {high}, got {dof}.")
        with torch.no_grad():
            self.raw_dof.fill_(math.log((dof - low) / (high - dof)))

    @property
    def dof(self) -> Tensor:
        """Degrees of freedom, a scalar within DOF_RANGE."""
        low, high = DOF_RANGE
        return low + (high - low) * torch.sigmoid(self.raw_dof)

    def log_prob(
        self, values: Tensor, valid: Tensor, location: Tensor, log_diag: Tensor, factor: Tensor
    ) -> Tensor:
        """See :meth:`Likelihood.log_prob`."""
        dof = self.dof
        count = valid.sum(-1).to(location.dtype)
        distance, log_determinant = quadratic(
            _residual(values, valid, location), valid, log_diag, factor
        )
        bands = torch.arange(valid.shape[-1] + 1, device=valid.device, dtype=location.dtype)
        constants = (
            torch.lgamma((dof + bands) / 2.0)
            - torch.lgamma(dof / 2.0)
            - 0.5 * bands * (dof * math.pi).log()
        )
        density = (
            constants[count.long()]
            - 0.5 * log_determinant
            - 0.5 * (dof + count) * torch.log1p(distance / dof)
        )
        return torch.where(count > 0, density, 0.0)

    def variance_ratio(self) -> Tensor:
        """See :meth:`Likelihood.variance_ratio`."""
        return self.dof / (self.dof - 2.0)

    def weight(self, distance: Tensor, count: Tensor) -> Tensor:
        """See :meth:`Likelihood.weight`."""
        return (self.dof + count) / (self.dof + distance)

    def mixture(self) -> tuple[Tensor, Tensor]:
        """See :meth:`Likelihood.mixture`; the trapezoid rule on log tau."""
        half = self.dof.detach().cpu().double() / 2.0
        log_weight = half * (_LOG_TAU - _LOG_TAU.exp())
        return _LOG_TAU.exp(), log_weight - torch.logsumexp(log_weight, 0)


def likelihood(name: str) -> Gaussian | StudentT:
    """Return a new likelihood: ``student`` or ``gaussian``.

    Raises:
        ValueError: If there is no likelihood of that name.
    """
    if name == "student":
        return StudentT()
    if name == "gaussian":
        return Gaussian()
    raise ValueError(f"no likelihood is called {name!r}; there are 'student' and 'gaussian'.")
