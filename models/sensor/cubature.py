"""Moments of a function of independent Gaussians, from few deterministic nodes."""

from __future__ import annotations

import torch
from torch import Tensor


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
