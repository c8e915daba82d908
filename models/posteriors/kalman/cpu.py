"""Kalman filter and smoother compiled for the CPU, with their adjoint, as one autograd function.

The lanes of vector instructions are latents and series, in the order in which they lie in memory:
nothing is transposed. A thread takes a few series at a time through all steps, so that what
passes between two steps stays in its cache. Gradients come from walking again, not from keeping
what was walked.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from terralatent.models.posteriors.kalman.chain import Chain, Covaried, Smoothed, Walk
from terralatent.models.posteriors.kalman.cpu_compile import compiled_loop
from terralatent.models.posteriors.kalman.program import GROUP, GROUPS, LANES
from terralatent.models.posteriors.kalman.step import MOMENTS, moment_count

Array = npt.NDArray[Any]

SPANS = 16
"""Into how many spans the tiles of a chunk are cut for the threads. Each has sums of its own, so
that their order, and with it the last bits of gradients, does not depend on the threads."""


def walk(chain: Chain, w: Tensor, eta: Tensor, *, sites: bool, predicted: bool) -> Walk:
    """Filter and smooth sites (N, T, L). Differentiable once.

    Arguments:
        chain: What calendar and kernel fix, of few states, without measures.
        w: Precisions, (N, T, L), on the CPU.
        eta: The same shape and dtype. Where w is 0 it is not read as more than 0, and neither of
            the two has a gradient.
        sites: Whether mean and variance are wanted on the days of the sites.
        predicted: Whether spread and innovation are wanted; they are (N, 0, L) otherwise.
    """
    first = w.shape[1] if sites else 0
    mean, var, spread, innovation, _ = _walk(chain, w, eta, first, predicted, scored=False)
    mean, var = mean[..., None], var[..., None]
    at_sites = (mean[:, :first, :, 0], var[:, :first, :, 0])
    return Walk(*at_sites, mean[:, first:], var[:, first:], spread, innovation)


def smooth(chain: Chain, w: Tensor, eta: Tensor) -> Smoothed:
    """Return mean, variance and KL, summed along the walk; else as :func:`walk` with sites."""
    total = w.shape[1]
    mean, var, _, _, kl = _walk(chain, w, eta, total, predicted=False, scored=True)
    return Smoothed(mean[:, :total], var[:, :total], mean[:, total:], var[:, total:], kl[:, 0])


def covary(chain: Chain, w: Tensor, eta: Tensor) -> Covaried:
    """Find means and covariances at the queries. Not differentiable.

    Arguments:
        chain: What calendar and kernel fix, of few states, without measures.
        w: Precisions, (N, T, L), on the CPU.
        eta: The same shape and dtype; not read where w is 0.
    """
    (steps, latents, states), queries = chain.a.shape[:3], len(chain.queries)
    site_of = np.array(chain.steps, dtype=np.int64)
    places = np.flatnonzero(site_of < 0)
    rows = np.full(steps, -1, np.int64)
    rows[places] = chain.queries.numpy()
    first, second = np.triu_indices(queries)
    pair_rows = np.full((queries, steps), -1, np.int64)
    pair_rows[first, places[second]] = np.arange(len(first))
    size = lane_width(latents)
    moves, start = (_array(tensor) for tensor in _moves_and_start(chain, size))
    sites = [_array(tensor) for tensor in (w, eta)]
    counts = (queries, len(first))
    mean, pairs = (np.empty((len(w), count, latents), sites[0].dtype) for count in counts)
    loop = compiled_loop("covary", states, str(sites[0].dtype))
    width = MOMENTS + 2 * moment_count(states)

    def work(chunk: int, begin: int, end: int, _: int) -> None:
        loop(
            *(begin, end, chunk, site_of, rows, places, pair_rows),
            *(array[chunk].reshape(len(array[chunk]), -1) for array in (moves, start)),
            *(_chunked(array, size) for array in sites),
            *_room(steps, width, states, sites[0].dtype),
            *(_chunked(array, size) for array in (mean, pairs)),
        )

    _share(work, len(w), len(moves), size)
    asked = chain.queries
    return Covaried(
        torch.from_numpy(mean),
        torch.from_numpy(pairs),
        asked[torch.from_numpy(first)],
        asked[torch.from_numpy(second)],
    )


def carry(
    chain: Chain, w: Tensor, eta: Tensor, start: Tensor | None, *, predicted: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Filter sites (N, T, L) without smoothing. Not differentiable.

    Arguments:
        chain: What calendar and kernel fix, of few states, without queries.
        w: Precisions, (N, T, L), on the CPU.
        eta: The same shape and dtype; not read where w is 0.
        start: The moments of each series before the first step, (N, L, r); the chain's if None.
        predicted: Whether spread and innovation are wanted; they are (N, 0, L) otherwise.

    Returns:
        The moments after the last site, (N, L, r), spread and innovation.
    """
    latents, states = chain.a.shape[1:3]
    size, count = lane_width(latents), moment_count(states)
    # What time passes before the first site follows a step at which nothing is seen.
    site_of = np.array([-1, *chain.steps], dtype=np.int64)
    still = torch.eye(states).to(chain.a).expand(1, latents, -1, -1)
    a = torch.cat([still, chain.a, still]).flatten(-2)
    q = torch.cat([torch.zeros_like(chain.q[:1]), chain.q, torch.zeros_like(chain.q[:1])])
    moves = _array(_lanes(torch.cat([a, q], dim=-1).transpose(0, 1), size))
    if start is None:
        start = torch.nn.functional.pad(chain.start, (states, 0)).expand(len(w), -1, -1)
    inputs = [_array(tensor) for tensor in (start.mT, w, eta)]
    rows = w.shape[1] if predicted else 0
    outputs = [np.empty((len(w), own, latents), inputs[1].dtype) for own in (count, rows, rows)]
    loop = compiled_loop("advance", states, str(inputs[1].dtype))
    every = np.arange(count)

    def work(chunk: int, begin: int, end: int, _: int) -> None:
        loop(
            *(begin, end, chunk, site_of, every),
            moves[chunk].reshape(len(moves[chunk]), -1),
            *(_chunked(array, size) for array in inputs),
            *_room(len(site_of), MOMENTS + states + 1, states, inputs[1].dtype),
            *(_chunked(array, size) for array in outputs),
        )

    _share(work, len(w), len(moves), size)
    moments, spread, innovation = (torch.from_numpy(output) for output in outputs)
    return moments.mT, spread, innovation


def _walk(
    chain: Chain, w: Tensor, eta: Tensor, sites: int, predicted: bool, *, scored: bool
) -> tuple[Tensor, ...]:
    """Return mean and variance at sites and queries (N, R, L), spread, innovation and KL."""
    site_of = np.array(chain.steps, dtype=np.int64)
    rows = np.where(site_of < sites, site_of, -1)
    rows[site_of < 0] = chain.queries.numpy() + sites
    moves, start = _moves_and_start(chain, lane_width(w.shape[2]))
    wanted = (sites + len(chain.queries), w.shape[1] if predicted else 0, 1 if scored else 0)
    states = chain.a.shape[-1]
    outputs = _Walk.apply(states, site_of, rows, wanted, moves, start, w, eta)  # type: ignore[no-untyped-call]
    return tuple(outputs)


def _moves_and_start(chain: Chain, size: int) -> tuple[Tensor, Tensor]:
    """Lay out for groups of lanes how moments move, and what they are before the first step."""
    # No time passes after the last step, and nothing is seen there.
    a = torch.cat([chain.a.flatten(-2), torch.zeros_like(chain.a[:1]).flatten(-2)])
    q = torch.cat([chain.q, torch.zeros_like(chain.q[:1])])
    moves = _lanes(torch.cat([a, q], dim=-1).transpose(0, 1), size)
    start = torch.nn.functional.pad(chain.start, (chain.a.shape[-1], 0))
    return moves, _lanes(start, size)


def lane_width(latents: int) -> int:
    """Return how many latents go into a group of lanes: a divisor that leaves few lanes empty."""
    divisors = [width for width in range(1, GROUP + 1) if latents % width == 0]
    return max(divisors, key=lambda width: (GROUP // width * width, width))


def _lanes(of_latents: Tensor, size: int) -> Tensor:
    """Lay (L, ..., rows) out for a group of lanes of each chunk: (C, ..., rows, GROUP)."""
    chunks = of_latents.unflatten(0, (-1, size)).movedim(1, -1)
    spare = GROUP - GROUP // size * size
    repeated = chunks.repeat(*(1,) * (chunks.ndim - 1), GROUP // size)
    return torch.nn.functional.pad(repeated, (0, spare))


class _Walk(torch.autograd.Function):
    """The walk as one function of moves (C, S + 1, rows, GROUP), start (C, r, GROUP) and sites."""

    @staticmethod
    def forward(
        ctx: Any,
        states: int,
        site_of: Array,
        rows: Array,
        wanted: tuple[int, int, int],
        moves: Tensor,
        start: Tensor,
        w: Tensor,
        eta: Tensor,
    ) -> tuple[Tensor, ...]:
        smoothed, predicted, scored = wanted
        inputs = [_array(tensor) for tensor in (moves, start, w, eta)]
        counts = (smoothed, smoothed, predicted, predicted, scored)
        outputs = [np.empty((len(w), count, w.shape[2]), inputs[2].dtype) for count in counts]
        loop = compiled_loop("forward", states, str(inputs[2].dtype))
        width = MOMENTS + states + 1

        def work(chunk: int, begin: int, end: int, _: int) -> None:
            loop(
                *(begin, end, chunk, site_of, rows),
                *(array[chunk].reshape(len(array[chunk]), -1) for array in inputs[:2]),
                *(_chunked(array, size) for array in inputs[2:]),
                *_room(len(site_of), width, states, inputs[2].dtype),
                *(_chunked(array, size) for array in outputs),
            )

        size = lane_width(w.shape[2])
        _share(work, len(w), len(moves), size)
        ctx.plan = states, site_of, rows
        ctx.save_for_backward(moves, start, w, eta)
        return tuple(torch.from_numpy(output) for output in outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *seeds: Tensor) -> tuple[Tensor | None, ...]:
        states, site_of, rows = ctx.plan
        inputs = [_array(tensor) for tensor in ctx.saved_tensors]
        moves, start, w, eta = inputs
        given = [_array(seed) for seed in seeds]
        bars = [np.zeros((SPANS, *array.shape), array.dtype) for array in (moves, start)]
        w_bar, eta_bar = np.empty_like(w), np.empty_like(eta)
        loop = compiled_loop("backward", states, str(w.dtype))
        r = moment_count(states)

        def work(chunk: int, begin: int, end: int, span: int) -> None:
            tape, state = _room(len(site_of), MOMENTS + 2 * r, states, w.dtype)
            bar, _ = _room(len(site_of), MOMENTS + states + 1, states, w.dtype)
            moves_bar, start_bar = (bar[span, chunk] for bar in bars)
            loop(
                *(begin, end, chunk, site_of, rows),
                *(array[chunk].reshape(len(array[chunk]), -1) for array in inputs[:2]),
                *(_chunked(array, size) for array in inputs[2:]),
                *(tape, state),
                *(_chunked(array, size) for array in given),
                *(bar, moves_bar.reshape(len(moves_bar), -1), start_bar),
                *(_chunked(array, size) for array in (w_bar, eta_bar)),
            )

        size = lane_width(w.shape[2])
        _share(work, len(w), len(moves), size)
        gradients = [torch.from_numpy(array) for array in (*bars, w_bar, eta_bar)]
        summed = [gradient.sum(0) for gradient in gradients[:2]]
        return None, None, None, None, *summed, *gradients[2:]


def _array(tensor: Tensor) -> Array:
    return tensor.detach().contiguous().numpy()


def _chunked(array: Array, size: int) -> Array:
    return array.reshape(*array.shape[:2], array.shape[2] // size, size)


def _room(steps: int, rows: int, states: int, dtype: Any) -> tuple[Array, Array]:
    """Return a tape, where queries have no site, and a state."""
    return np.zeros((steps, rows * LANES), dtype), np.zeros(moment_count(states) * LANES, dtype)


def _share(work: Callable[[int, int, int, int], None], series: int, chunks: int, size: int) -> None:
    """Do ``work(chunk, begin, end, span)`` for all spans of tiles, in as many threads as torch."""
    tiles = -(-series // (GROUPS * (GROUP // size)))
    edges = np.linspace(0, tiles, SPANS + 1).astype(int).tolist()
    spans = [
        (chunk, begin, end, span)
        for chunk in range(chunks)
        for span, (begin, end) in enumerate(pairwise(edges))
        if begin < end
    ]
    threads = min(torch.get_num_threads(), len(spans))
    if threads <= 1:
        for span in spans:
            work(*span)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, *span) for span in spans]:
            done.result()
