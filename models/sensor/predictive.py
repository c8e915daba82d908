"""Distribution of a new observation where the surface under it is itself uncertain.

The surface is Gaussian; the noise is the likelihood's mixture of Gaussians N(0, Sigma / tau), so
that given tau their sum is Gaussian, and what remains is one integral over tau.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHARES = 65
"""Shares of the noise at which quantiles are tabulated."""


def quantile_table(mixture: tuple[Tensor, Tensor], probability: float) -> Tensor:
    r"""Tabulate the quantile of sqrt(1 - share) * Gaussian + sqrt(share) * noise of scale 1.

    Each entry is exact for its share (by bisection), not matched by moments: those of a heavy
    tail say little about a quantile.

    Args:
        mixture: Nodes and log weights of tau, each (K,), float64, see
            :meth:`~terralatent.models.sensor.likelihoods.Likelihood.mixture`.
        probability: At least 0.5 and below 1.

    Returns:
        shape (65,), float64, for shares from 0 to 1.

    Raises:
        ValueError: If ``probability`` is outside.
    """
    if not 0.5 <= probability < 1.0:
        raise ValueError(f"probability must be at least 0.5 and below 1, got {probability}.")
    tau, log_weight = mixture
    weight = log_weight.exp()
    share = torch.linspace(0.0, 1.0, SHARES, dtype=torch.float64).unsqueeze(-1)
    spread = ((1.0 - share) + share / tau).sqrt()

    def below(x: Tensor) -> Tensor:
        return torch.sum(torch.special.ndtr(x.unsqueeze(-1) / spread) * weight, dim=-1)

    low, high = torch.zeros(SHARES, dtype=torch.float64), torch.ones(SHARES, dtype=torch.float64)
    while bool((below(high) < probability).any()):
        high = 2.0 * high
    for _ in range(50):
        middle = 0.5 * (low + high)
        short = below(middle) < probability
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return 0.5 * (low + high)


def upper_quantile(table: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
    """Return by how much a quantile of surface + noise lies above the mean.

    Their sum is symmetric: the opposite quantile lies as far below.

    Args:
        table: From :func:`quantile_table`; linear between its entries.
        signal: Variance of the surface, any shape.
        noise: Squared scale of the noise (not its variance), the same shape, positive.
    """
    table = table.to(signal)
    total = signal + noise
    place = (noise / total) * (len(table) - 1)
    start = place.floor().clamp(0, len(table) - 2)
    below = table[start.long()]
    step = table[start.long() + 1] - below
    return total.sqrt() * (below + (place - start) * step)


def predictive_log_density(
    residual: Tensor,
    valid: Tensor,
    log_diag: Tensor,
    factor: Tensor,
    signal: Tensor,
    mixture: tuple[Tensor, Tensor],
) -> Tensor:
    r"""Return the log density of observations whose location is itself uncertain.

    .. math:: \log \int p(\tau)\, N(r;\, 0,\, C + \Sigma / \tau)\, d\tau

    C and Sigma are made diagonal together, once an observation, so that the integral over tau
    costs B operations a node.

    Args:
        residual: Observation minus expected location, shape (M, B); anything where not valid.
        valid: shape (M, B), bool.
        log_diag: Of Sigma, shape (M, B).
        factor: Of Sigma, shape (B, U).
        signal: C, covariance of the location over the bands, shape (M, B, B).
        mixture: Nodes and log weights of tau, from :meth:`Likelihood.mixture`.

    Returns:
        shape (M,), 0 where no band is valid.
    """
    both = valid.unsqueeze(-1) & valid.unsqueeze(-2)
    scale = torch.diag_embed(log_diag.exp()) + factor @ factor.T
    identity = torch.eye(valid.shape[-1], device=valid.device, dtype=scale.dtype).expand_as(scale)
    lower = torch.linalg.cholesky(torch.where(both, scale, identity))
    left = torch.linalg.solve_triangular(lower, torch.where(both, signal, 0.0), upper=False)
    whitened = torch.linalg.solve_triangular(lower, left.mT, upper=False)
    signals, turn = torch.linalg.eigh(0.5 * (whitened + whitened.mT))
    signals = signals.clamp_min(0.0)
    clean = torch.where(valid, residual, 0.0).unsqueeze(-1)
    squares = (turn.mT @ torch.linalg.solve_triangular(lower, clean, upper=False)).squeeze(-1) ** 2
    count = valid.sum(-1).to(scale.dtype)
    missing = valid.shape[-1] - count
    nodes = []
    for tau, log_weight in zip(*(part.tolist() for part in mixture), strict=True):
        variance = signals + 1.0 / tau
        # Missing bands stand as directions with no signal: their log(1 / tau) is taken back.
        log_volume = variance.log().sum(-1) + missing * math.log(tau)
        nodes.append(log_weight - 0.5 * (log_volume + (squares / variance).sum(-1)))
    density = torch.logsumexp(torch.stack(nodes), 0)
    log_scale = torch.diagonal(lower, dim1=-2, dim2=-1).log().sum(-1)
    density = density - log_scale - 0.5 * count * math.log(2.0 * math.pi)
    return torch.where(count > 0, density, 0.0)


def hadamard_nodes(dims: int) -> Tensor:
    r"""Return nodes with every coordinate at plus or minus one standard deviation.

    The rows are those of a Hadamard matrix and their negatives: their mean is 0, their second
    moments are those of a standard normal (the columns are orthogonal), and all odd moments
    vanish. Equally weighted they give the mean of a cubic and the mean and variance of a linear
    function exactly. They are the same for every pixel, so that two tilings agree.

    Args:
        dims: Number of coordinates, at least 1.

    Returns:
        Nodes, shape (2 * 2**ceil(log2(dims)), dims), float32.
    """
    if dims < 1:
        raise ValueError(f"hadamard_nodes needs at least one dimension, got {dims}.")
    rows = torch.ones(1, 1)
    while rows.shape[0] < dims:
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
    half = rows[:, :dims]
    return torch.cat([half, -half])
