"""Kalman filter and smoother compiled for the CPU, with their adjoint, as one autograd function.

A thread takes all latents of a tile of series, one after the other, through all visits: what
passes between two visits stays in its cache. Gradients come from walking the tape again, not from
keeping it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
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



def walk(chain: Chain, w: Tensor, eta: Tensor, *, sites: bool) -> Walk:
    """Filter and smooth sites (N, T, L), with mean and variance on their days if asked for.

    Differentiable once.
    """
    n = chain.states
    eye = torch.eye(n, dtype=w.dtype).expand(1, w.shape[2], n, n)
    a = torch.cat([torch.stack(chain.forward)[..., :n, :n], eye]).transpose(0, 1)
    q = torch.stack(chain.noise)[..., n:, 0]
    q = torch.cat([q, torch.zeros_like(q[:1])]).transpose(0, 1)
    visited = np.array(chain.visits)
    first = w.shape[1] if sites else 0
    rows = np.where(visited >= 0, visited if sites else -1, 0)
    rows[visited < 0] = chain.asked.numpy() + first
    mean, var, *predicted = _Walk.apply(visited, rows, a, q, chain.start[:, n:, 0], w, eta)
    mean, var = mean[..., None], var[..., None]
    at_sites = (mean[:, :first, :, 0], var[:, :first, :, 0])
    return Walk(*at_sites, mean[:, first:], var[:, first:], *predicted)


class _Walk(torch.autograd.Function):
    """Both walks as one function of the kernel's moves and of the sites."""

    @staticmethod
    def forward(
        ctx: Any,
        visited: Array,
        rows: Array,
        a: Tensor,
        q: Tensor,
        start: Tensor,
        w: Tensor,
        eta: Tensor,
    ) -> tuple[Tensor, ...]:
        mean = w.new_empty(len(w), int(rows.max()) + 1, w.shape[2])
        outputs = (mean, torch.empty_like(mean), torch.empty_like(w), torch.empty_like(w))
        inputs = [_array(each) for each in (a, q, start, w, eta)]
        forward, _ = _drivers(a.shape[-1], str(inputs[3].dtype))
        _share(forward, len(w), visited, rows, *inputs, *map(_array, outputs))
        ctx.plan = visited, rows
        ctx.save_for_backward(a, q, start, w, eta)
        return outputs

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
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
        return None, None, *(each.sum(0) for each in gradients[:3]), *gradients[3:]


def _array(tensor: Tensor) -> Array:
    return tensor.detach().contiguous().numpy()


def _share(driver: Callable[..., None], series: int, *arrays: Array) -> None:
    """Share the tiles out to as many threads as torch uses."""
    tiles = -(-series // LANES)
    threads = max(1, min(torch.get_num_threads(), tiles))
    edges = np.linspace(0, tiles, threads + 1).astype(int).tolist()
    spans = list(zip(edges[:-1], edges[1:], strict=True))
    if threads == 1:
        driver(*spans[0], *arrays)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(driver, *span, *arrays) for span in spans]:
            done.result()


@lru_cache(maxsize=None)
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
    def gather(source, first):  # type: ignore[no-untyped-def]
        """Read a tile (N, R, L) as (L, R, LANES); 0 beyond the last series."""
        count = min(LANES, len(source) - first)
        tile = np.empty((source.shape[2], source.shape[1], LANES), source.dtype)
        for row in range(source.shape[1]):
            for k in range(count):
                for latent in range(source.shape[2]):
                    tile[latent, row, k] = source[first + k, row, latent]
            for k in range(count, LANES):
                for latent in range(source.shape[2]):
                    tile[latent, row, k] = nothing
        return tile

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
                tape[v, W * LANES : (W + 1) * LANES] = w[visited[v]]
                tape[v, ETA * LANES : (ETA + 1) * LANES] = eta[visited[v]]
            else:
                tape[v, : (ETA + 1) * LANES] = nothing
        tape[0, first_x:first_var] = nothing
        for i in range(len(start)):
            tape[0, first_var + i * LANES : first_var + (i + 1) * LANES] = start[i]
        tape[len(visited), first_y:] = nothing

    @numba.njit(nogil=True)
    def forward(  # type: ignore[no-untyped-def]
        begin, end, visited, rows, a, q, start, w, eta, mean, var, spread, innovation
    ):
        tape = np.empty((len(visited) + 1, width), w.dtype)
        for tile in range(begin, end):
            first = tile * LANES
            tiles_in = gather(w, first), gather(eta, first)
            mean_tile, var_tile = gather(mean, first), gather(var, first)
            spread_tile, innovation_tile = gather(spread, first), gather(innovation, first)
            for latent in range(w.shape[2]):
                lay(tape, visited, start[latent], tiles_in[0][latent], tiles_in[1][latent])
                walk_filter(tape, tape, a[latent], q[latent], a[latent], q[latent])
                if mean.shape[1]:
                    walk_smooth(tape, tape, a[latent], q[latent], a[latent], q[latent])
                for v in range(len(visited)):
                    if rows[v] >= 0:
                        mean_tile[latent, rows[v]] = tape[v, MEAN * LANES : (MEAN + 1) * LANES]
                        var_tile[latent, rows[v]] = tape[v, VAR * LANES : (VAR + 1) * LANES]
                    if visited[v] >= 0:
                        spread_tile[latent, visited[v]] = tape[v, first_var : first_var + LANES]
                        innovation_tile[latent, visited[v]] = tape[v, INNOVATION * LANES : (INNOVATION + 1) * LANES]
            scatter(mean_tile, mean, first)
            scatter(var_tile, var, first)
            scatter(spread_tile, spread, first)
            scatter(innovation_tile, innovation, first)

    @numba.njit(nogil=True)
    def backward(  # type: ignore[no-untyped-def]
        begin, end, visited, rows, a, q, start, w, eta,
        mean_bar, var_bar, spread_bar, innovation_bar, a_bar, q_bar, start_bar, w_bar, eta_bar,
    ):
        tape = np.empty((len(visited) + 1, width), w.dtype)
        bar = np.empty((len(visited) + 1, width), w.dtype)
        for tile in range(begin, end):
            first = tile * LANES
            w_tile, eta_tile = gather(w, first), gather(eta, first)
            mean_tile, var_tile = gather(mean_bar, first), gather(var_bar, first)
            spread_tile, innovation_tile = gather(spread_bar, first), gather(innovation_bar, first)
            for latent in range(w.shape[2]):
                lay(tape, visited, start[latent], w_tile[latent], eta_tile[latent])
                walk_filter(tape, tape, a[latent], q[latent], a[latent], q[latent])
                bar[:] = nothing
                grad_a, grad_q = a_bar[tile, latent], q_bar[tile, latent]
                for v in range(len(visited)):
                    if rows[v] >= 0:
                        bar[v, MEAN * LANES : (MEAN + 1) * LANES] = mean_tile[latent, rows[v]]
                        bar[v, VAR * LANES : (VAR + 1) * LANES] = var_tile[latent, rows[v]]
                    if visited[v] >= 0:
                        bar[v, first_var : first_var + LANES] = spread_tile[latent, visited[v]]
                        bar[v, INNOVATION * LANES : (INNOVATION + 1) * LANES] = innovation_tile[latent, visited[v]]
                if mean_bar.shape[1]:
                    walk_smooth(tape, tape, a[latent], q[latent], a[latent], q[latent])
                    back_smooth(tape, bar, a[latent], q[latent], grad_a, grad_q)
                back_filter(tape, bar, a[latent], q[latent], grad_a, grad_q)
                for v in range(len(visited)):
                    if visited[v] >= 0:
                        w_tile[latent, visited[v]] = bar[v, W * LANES : (W + 1) * LANES]
                        eta_tile[latent, visited[v]] = bar[v, ETA * LANES : (ETA + 1) * LANES]
                for i in range(start.shape[1]):
                    at = first_var + i * LANES
                    start_bar[tile, latent, i] = bar[0, at : at + LANES].sum()
            scatter(w_tile, w_bar, first)
            scatter(eta_tile, eta_bar, first)

    return forward, backward
