"""Kalman filter and smoother compiled for the CPU, with their adjoint, as one autograd function.

A thread takes all latents of a tile of series, one after the other, through all visits: what
passes between two visits stays in its cache. Gradients come from walking the tape again, not from
keeping it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from terralatent.models.posteriors.chain import Chain, Walk
from terralatent.models.posteriors.straightline import LANES
from terralatent.models.posteriors.visits import (
    ETA,
    INNOVATION,
    MEAN,
    MOMENTS,
    VAR,
    W,
    compiled_sweeps,
    moment_count,
)

Array = npt.NDArray[Any]


def walk(chain: Chain, w: Tensor, eta: Tensor, *, sites: bool, predicted: bool) -> Walk:
    """Filter and smooth sites (N, T, L). Differentiable once.

    Arguments:
        chain: What calendar and kernel fix.
        w: Precisions, (N, T, L), on the CPU.
        eta: The same shape and dtype.
        sites: Whether mean and variance are wanted on the days of the sites.
        predicted: Whether spread and innovation are wanted; they are (N, 0, L) otherwise.
    """
    eye = torch.eye(chain.a.shape[-1], dtype=w.dtype).expand(1, *chain.a.shape[1:])
    a = torch.cat([chain.a, eye]).transpose(0, 1)
    q = torch.cat([chain.q, torch.zeros_like(chain.q[:1])]).transpose(0, 1)
    visited = np.array(chain.visits)
    first = w.shape[1] if sites else 0
    rows = np.where(visited >= 0, visited if sites else -1, 0)
    rows[visited < 0] = chain.asked.numpy() + first
    moves = (a, q, chain.start)
    walked = _Walk.apply(visited, rows, predicted, *moves, w, eta)  # type: ignore[no-untyped-call]
    mean, var, *ahead = walked
    mean, var = mean[..., None], var[..., None]
    at_sites = (mean[:, :first, :, 0], var[:, :first, :, 0])
    return Walk(*at_sites, mean[:, first:], var[:, first:], *ahead)


class _Walk(torch.autograd.Function):
    """Both walks as one function of the kernel's moves and of the sites."""

    @staticmethod
    def forward(
        ctx: Any,
        visited: Array,
        rows: Array,
        predicted: bool,
        a: Tensor,
        q: Tensor,
        start: Tensor,
        w: Tensor,
        eta: Tensor,
    ) -> tuple[Tensor, ...]:
        mean = w.new_empty(len(w), int(rows.max()) + 1, w.shape[2])
        spread = torch.empty_like(w) if predicted else w.new_empty(len(w), 0, w.shape[2])
        outputs = (mean, torch.empty_like(mean), spread, torch.empty_like(spread))
        inputs = [_array(each) for each in (a, q, start, w, eta)]
        forward, _ = _drivers(a.shape[-1], str(inputs[3].dtype))
        _share(forward, len(w), visited, rows, *inputs, *map(_array, outputs))
        ctx.plan = visited, rows
        ctx.save_for_backward(a, q, start, w, eta)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *seeds: Tensor) -> tuple[Tensor | None, ...]:
        inputs = [_array(each) for each in ctx.saved_tensors]
        a, q, start, w, eta = inputs
        tiles = -(-len(w) // LANES)
        # A tile adds to sums of its own, so that their order does not depend on the threads.
        bars = [np.zeros((tiles, *each.shape), each.dtype) for each in (a, q, start)]
        bars += [np.empty_like(w), np.empty_like(eta)]
        _, backward = _drivers(a.shape[-1], str(w.dtype))
        _share(backward, len(w), *ctx.plan, *inputs, *map(_array, seeds), *bars)
        gradients = [torch.from_numpy(each) for each in bars]
        return None, None, None, *(each.sum(0) for each in gradients[:3]), *gradients[3:]


def _array(tensor: Tensor) -> Array:
    return tensor.detach().contiguous().numpy()


def _share(driver: Callable[..., None], series: int, *arrays: Array) -> None:
    """Share the tiles out to as many threads as torch uses."""
    tiles = -(-series // LANES)
    threads = max(1, min(torch.get_num_threads(), tiles))
    edges = np.linspace(0, tiles, threads + 1).astype(int).tolist()
    spans = list(pairwise(edges))
    if threads == 1:
        driver(*spans[0], *arrays)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(driver, *span, *arrays) for span in spans]:
            done.result()


@cache
def _drivers(states: int, dtype: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """Compile the loops over tiles and latents, forward and backward."""
    sweeps = compiled_sweeps(states, dtype)
    walk_filter, walk_smooth = sweeps.filter, sweeps.smooth
    back_smooth, back_filter = sweeps.smooth_back, sweeps.filter_back
    size = moment_count(states)
    width = (MOMENTS + 2 * size) * LANES
    first_x, first_y = MOMENTS * LANES, (MOMENTS + size) * LANES
    first_var = first_x + states * LANES
    nothing = np.dtype(dtype).type(0)

    @numba.njit(nogil=True)
    def copy(source, start, target, to):  # type: ignore[no-untyped-def]
        for k in range(LANES):
            target[to + k] = source[start + k]

    @numba.njit(nogil=True)
    def new(like):  # type: ignore[no-untyped-def]
        """Return room for a tile of ``like``, (N, R, L), as (L, R, LANES)."""
        return np.empty((like.shape[2], like.shape[1], LANES), like.dtype)

    @numba.njit(nogil=True)
    def gather(source, first, tile):  # type: ignore[no-untyped-def]
        """Read a tile; 0 beyond the last series."""
        count = min(LANES, len(source) - first)
        if count < LANES:
            tile[:] = nothing
        for row in range(source.shape[1]):
            for k in range(count):
                for latent in range(source.shape[2]):
                    tile[latent, row, k] = source[first + k, row, latent]

    @numba.njit(nogil=True)
    def scatter(tile, target, first):  # type: ignore[no-untyped-def]
        """Write a tile back to where :func:`gather` reads it."""
        for row in range(target.shape[1]):
            for k in range(min(LANES, len(target) - first)):
                for latent in range(target.shape[2]):
                    target[first + k, row, latent] = tile[latent, row, k]

    @numba.njit(nogil=True)
    def lay(tape, visited, start, w, eta):  # type: ignore[no-untyped-def]
        """Lay out the sites of a tile, the moments at the first visit, nothing after the last."""
        for v in range(len(visited)):
            if visited[v] >= 0:
                copy(w[visited[v]], 0, tape[v], W * LANES)
                copy(eta[visited[v]], 0, tape[v], ETA * LANES)
            else:
                for k in range(2 * LANES):
                    tape[v, k] = nothing
        for k in range(first_x, first_var):
            tape[0, k] = nothing
        for i in range(len(start)):
            for k in range(LANES):
                tape[0, first_var + i * LANES + k] = start[i]
        for k in range(first_y, width):
            tape[len(visited), k] = nothing

    @numba.njit(nogil=True)
    def forward(  # type: ignore[no-untyped-def]
        begin, end, visited, rows, a, q, start, w, eta, mean, var, spread, innovation
    ):
        tape = np.empty((len(visited) + 1, width), w.dtype)
        w_tile, eta_tile, mean_tile, var_tile = new(w), new(eta), new(mean), new(var)
        spread_tile, innovation_tile = new(spread), new(innovation)
        for tile in range(begin, end):
            first = tile * LANES
            gather(w, first, w_tile)
            gather(eta, first, eta_tile)
            for latent in range(w.shape[2]):
                lay(tape, visited, start[latent], w_tile[latent], eta_tile[latent])
                walk_filter(tape, tape, a[latent], q[latent], a[latent], q[latent])
                if mean.shape[1]:
                    walk_smooth(tape, tape, a[latent], q[latent], a[latent], q[latent])
                for v in range(len(visited)):
                    row, site = rows[v], visited[v]
                    if row >= 0:
                        copy(tape[v], MEAN * LANES, mean_tile[latent, row], 0)
                        copy(tape[v], VAR * LANES, var_tile[latent, row], 0)
                    if site >= 0 and spread.shape[1]:
                        copy(tape[v], first_var, spread_tile[latent, site], 0)
                        copy(tape[v], INNOVATION * LANES, innovation_tile[latent, site], 0)
            scatter(mean_tile, mean, first)
            scatter(var_tile, var, first)
            scatter(spread_tile, spread, first)
            scatter(innovation_tile, innovation, first)

    @numba.njit(nogil=True)
    def backward(  # type: ignore[no-untyped-def]
        begin, end, visited, rows, a, q, start, w, eta, mean_bar, var_bar, spread_bar,
        innovation_bar, a_bar, q_bar, start_bar, w_bar, eta_bar,
    ):  # fmt: skip
        tape = np.empty((len(visited) + 1, width), w.dtype)
        bar = np.empty((len(visited) + 1, width), w.dtype)
        w_tile, eta_tile, mean_tile, var_tile = new(w), new(eta), new(mean_bar), new(var_bar)
        spread_tile, innovation_tile = new(spread_bar), new(innovation_bar)
        for tile in range(begin, end):
            first = tile * LANES
            gather(w, first, w_tile)
            gather(eta, first, eta_tile)
            gather(mean_bar, first, mean_tile)
            gather(var_bar, first, var_tile)
            gather(spread_bar, first, spread_tile)
            gather(innovation_bar, first, innovation_tile)
            for latent in range(w.shape[2]):
                lay(tape, visited, start[latent], w_tile[latent], eta_tile[latent])
                walk_filter(tape, tape, a[latent], q[latent], a[latent], q[latent])
                bar[:] = nothing
                for v in range(len(visited)):
                    row, site = rows[v], visited[v]
                    if row >= 0:
                        copy(mean_tile[latent, row], 0, bar[v], MEAN * LANES)
                        copy(var_tile[latent, row], 0, bar[v], VAR * LANES)
                    if site >= 0 and spread_bar.shape[1]:
                        copy(spread_tile[latent, site], 0, bar[v], first_var)
                        copy(innovation_tile[latent, site], 0, bar[v], INNOVATION * LANES)
                grad_a, grad_q = a_bar[tile, latent], q_bar[tile, latent]
                if mean_bar.shape[1]:
                    walk_smooth(tape, tape, a[latent], q[latent], a[latent], q[latent])
                    back_smooth(tape, bar, a[latent], q[latent], grad_a, grad_q)
                back_filter(tape, bar, a[latent], q[latent], grad_a, grad_q)
                for v in range(len(visited)):
                    if visited[v] >= 0:
                        copy(bar[v], W * LANES, w_tile[latent, visited[v]], 0)
                        copy(bar[v], ETA * LANES, eta_tile[latent, visited[v]], 0)
                for i in range(start.shape[1]):
                    for k in range(LANES):
                        start_bar[tile, latent, i] += bar[0, first_var + i * LANES + k]
            scatter(w_tile, w_bar, first)
            scatter(eta_tile, eta_bar, first)

    return forward, backward
