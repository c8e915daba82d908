"""Kalman filter and smoother on a GPU, with their adjoint, as one autograd function: experimental.

It has never run on a GPU. Tests hold its algebra and, where Triton is installed, that the source
compiles; what it gains over the eager recursion has not been measured.

One launch filters and smooths, one takes gradients; both are Triton kernels whose source
:mod:`terralatent.models.posteriors.kalman.gpu_source` writes. Series share nothing, so each
program goes through its tiles alone, and gradients of what series share are summed program by
program.
"""

import linecache
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any
from zlib import crc32

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from terralatent.models.posteriors.kalman.chain import Chain, Walk
from terralatent.models.posteriors.kalman.gpu_source import (
    KernelSource,
    backward_source,
    forward_source,
)

LANES = 32
"""Least lanes of a tile: one for each thread of a warp.

Two a thread would not fit: compiled for an H100, the kernels of three states take 64 and 128
registers with one, without a spill, so that 32 and 16 programs fit a multiprocessor.
"""

WARPS = 1
"""Warps of a program: no wait at a barrier, and sums over series need no shared memory."""

FORWARD_SHARE = 32
"""Most programs of the kernel ``forward`` for each multiprocessor: as many as an H100 holds.

They take the tiles in turns, so that the tape, n + 1 numbers a lane and step, is one for each
program and not for each tile.
"""

BACKWARD_SHARE = 8
"""The same for ``backward``, whose tape has n (n + 3) numbers a lane and step, and which has a sum
for each program: at 230 days, 16 latents and three states 0.8 GB where all are needed."""


def available(device: torch.device) -> bool:
    """Return whether :func:`walk` can work there: a GPU that Triton knows, and Triton installed."""
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= (7, 0)


def walk(chain: Chain, w: Tensor, eta: Tensor, *, sites: bool, predicted: bool) -> Walk:
    """Filter and smooth sites (N, T, L). Differentiable once.

    Arguments:
        chain: What calendar and kernel fix, without ``measures``.
        w: Precisions, (N, T, L), float32 or float64, where :func:`available`.
        eta: The same shape, dtype and device.
        sites: Whether mean and variance are wanted on the days of the sites.
        predicted: Whether spread and innovation are wanted; they are (N, 0, L) otherwise.
    """
    moves = torch.cat([chain.a.flatten(-2), chain.q], -1).mT
    site_of = torch.tensor(chain.steps, dtype=torch.int32, device=w.device)
    first = w.shape[1] if sites else 0
    rows = site_of if sites else torch.full_like(site_of, -1)
    # Which steps are queries is known here, on the CPU, but their order is not: nothing may wait.
    rows = rows.masked_scatter(site_of < 0, (chain.queries + first).to(rows.dtype))
    shape = first + len(chain.queries), predicted
    inputs = pad(moves, (0, 0, 0, 0, 0, 1)), chain.start.mT, w, eta
    walked = _Walk.apply(site_of, rows, shape, *inputs)  # type: ignore[no-untyped-call]
    mean, var, *ahead = walked
    mean, var = mean[..., None], var[..., None]
    at_sites = (mean[:, :first, :, 0], var[:, :first, :, 0])
    return Walk(*at_sites, mean[:, first:], var[:, first:], *ahead)


class _Walk(torch.autograd.Function):
    """Both walks as one function of the kernel's moves and of the sites."""

    @staticmethod
    def forward(
        ctx: Any,
        site_of: Tensor,
        rows: Tensor,
        shape: tuple[int, bool],
        moves: Tensor,
        start: Tensor,
        w: Tensor,
        eta: Tensor,
    ) -> tuple[Tensor, ...]:
        """Walk.

        Arguments:
            ctx: What autograd passes on.
            site_of: The site of each step, or -1, (S,), int32.
            rows: The row of the outputs that shows it, or -1, the same.
            shape: The number of these rows, and whether spread and innovation are wanted.
            moves: A and Q, (S + 1, M, L), the last of them 0.
            start: The different elements of the covariance at the start, (n (n + 1) / 2, L).
            w: (N, T, L).
            eta: (N, T, L).
        """
        inputs = [tensor.contiguous() for tensor in (moves, start, w, eta)]
        shown, predicted = shape
        mean = w.new_empty(len(w), shown, w.shape[2])
        spread = w.new_empty(len(w), w.shape[1] if predicted else 0, w.shape[2])
        outputs = mean, torch.empty_like(mean), spread, torch.empty_like(spread)
        source = forward_source(_states(start), smoothed=shown > 0, predicted=predicted)
        _launch(source, FORWARD_SHARE, site_of, rows, shown, inputs, outputs)
        ctx.plan = site_of, rows, shape
        ctx.save_for_backward(*inputs)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *seeds: Tensor) -> tuple[Tensor | None, ...]:
        site_of, rows, (shown, predicted) = ctx.plan
        moves, start, w, eta = inputs = ctx.saved_tensors
        programs = _programs(w, BACKWARD_SHARE)
        bars = [tensor.new_zeros(programs, *tensor.shape) for tensor in (moves, start)]
        bars += [torch.zeros_like(w), torch.zeros_like(eta)]
        source = backward_source(_states(start), smoothed=shown > 0, predicted=predicted)
        given = (*(seed.contiguous() for seed in seeds), *bars)
        _launch(source, BACKWARD_SHARE, site_of, rows, shown, inputs, given)
        return None, None, None, *(bar.sum(0) for bar in bars[:2]), *bars[2:]


def _states(start: Tensor) -> int:
    """Return n, of n (n + 1) / 2 elements."""
    return int((2 * len(start)) ** 0.5)


def _tile(latents: int) -> tuple[int, int]:
    """Return the number of series in a tile, and that of the lanes that each of them takes."""
    wide = 1 << (latents - 1).bit_length()
    return max(1, LANES // wide), wide


def _programs(w: Tensor, share: int) -> int:
    """Return how many programs take the tiles in turns."""
    deep, _ = _tile(w.shape[2])
    on_gpu = w.device.type == "cuda"
    # Triton's interpreter, which tests use, takes the programs one after the other.
    units = torch.cuda.get_device_properties(w.device).multi_processor_count if on_gpu else 1
    return max(1, min(units * share, -(-len(w) // deep)))


def _launch(
    source: KernelSource,
    share: int,
    site_of: Tensor,
    rows: Tensor,
    shown: int,
    inputs: tuple[Tensor, ...] | list[Tensor],
    others: tuple[Tensor, ...],
) -> None:
    """Launch a kernel with what it takes, in its order."""
    moves, _, w, _ = inputs
    deep, wide = _tile(w.shape[2])
    programs = _programs(w, share)
    if not w.shape[0] * len(site_of):
        return
    tape = w.new_empty(programs, len(site_of), source.rows, deep * wide)
    with torch.cuda.device_of(w):
        compiled_kernel(source)[(programs,)](
            *(site_of, rows, *inputs, tape, *others),
            *(*w.shape[:2], len(site_of), shown),
            ROWS=source.rows,
            MOVES=moves.shape[1],
            LATENTS=w.shape[2],
            WIDE=wide,
            DEEP=deep,
            num_warps=WARPS,
            num_stages=1,
            enable_fp_fusion=True,
        )


@cache
def compiled_kernel(source: KernelSource) -> Any:
    """Return the source as a kernel, which Triton compiles when it is first launched.

    That takes seconds, and up to minutes for gradients of five states, once on a machine: Triton
    keeps what it compiled.
    """
    import triton
    import triton.language as tl

    # Triton asks for the lines of a function by its file; this is where Python keeps such lines.
    file = f"<{__name__} {source.name} {crc32(source.text.encode()):x}>"
    linecache.cache[file] = (len(source.text), None, source.text.splitlines(True), file)
    scope: dict[str, Any] = {"__name__": __name__, "triton": triton, "tl": tl}
    exec(compile(source.text, file, "exec"), scope)
    kernel: Callable[..., Any] = scope[source.name]
    return kernel
