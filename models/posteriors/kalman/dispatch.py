"""Which recursion takes a chain: eager, compiled for the CPU, or the kernels of a GPU."""

import torch
from torch import Tensor

from terralatent.models.posteriors.kalman import eager, gpu
from terralatent.models.posteriors.kalman.chain import Chain, Covaried, Smoothed, Walk, masked

COMPILED_FROM = 200_000
"""Series times latents times steps from which the compiled recursion is used on the CPU.

It is several times as fast, but a machine that never ran it compiles it first, for some seconds.
"""

COMPILED_STATES = 5
"""Most states of which a step is compiled: the time to compile grows with their third power."""


def walk_chain(chain: Chain, w: Tensor, eta: Tensor, *, sites: bool, predicted: bool) -> Walk:
    """Filter and smooth sites (N, T, L), in the way that suits the device and the amount of work.

    Arguments:
        chain: What calendar and kernel fix.
        w: Precisions, (N, T, L), masked where 0.
        eta: The same shape, dtype and device; not read where masked.
        sites: Whether mean and variance are wanted on the days of the sites.
        predicted: Whether spread and innovation are wanted.
    """
    if _is_compiled(chain, w):
        from terralatent.models.posteriors.kalman import cpu  # numba takes a second to import

        return cpu.walk(chain, w, eta, sites=sites, predicted=predicted)
    return _walk_masked(chain, *masked(w, eta), sites=sites, predicted=predicted)


def smooth_chain(chain: Chain, w: Tensor, eta: Tensor) -> Smoothed:
    """Filter and smooth sites as :func:`walk_chain` does, and sum up the KL on the way."""
    if _is_compiled(chain, w):
        from terralatent.models.posteriors.kalman import cpu

        return cpu.smooth(chain, w, eta)
    w, eta = masked(w, eta)
    walk = _walk_masked(chain, w, eta, sites=True, predicted=True)
    at_queries = (walk.query_mean[..., 0], walk.query_var[..., 0])
    return Smoothed(walk.mean, walk.var, *at_queries, walk.divergence(w, eta))


def covary_chain(chain: Chain, w: Tensor, eta: Tensor) -> Covaried | None:
    """Find means and covariances at queries; None where nothing is compiled for that.

    Twice the work of the means, however many queries there are. Not differentiable.
    """
    if not _is_compiled(chain, w):
        return None
    from terralatent.models.posteriors.kalman import cpu

    return cpu.covary(chain, w, eta)


def carry_chain(
    chain: Chain, w: Tensor, eta: Tensor, start: Tensor | None, *, predicted: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Filter sites (N, T, L) without smoothing, from moments (N, L, r); see :func:`eager.carry`.

    Spread and innovation are left out, (N, 0, L), where they are not wanted and compiled code runs.
    Differentiable, but for that.
    """
    gradients = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (w, eta, start, chain.a, chain.q)
    )
    if not gradients and _is_compiled(chain, w):
        from terralatent.models.posteriors.kalman import cpu

        return cpu.carry(chain, w, eta, start, predicted=predicted)
    return eager.carry(chain, *masked(w, eta), start)


def _walk_masked(chain: Chain, w: Tensor, eta: Tensor, *, sites: bool, predicted: bool) -> Walk:
    """Walk where nothing is compiled for the CPU; masked sites are 0."""
    # Whoever lets networks compute in fewer digits does not mean this.
    with torch.autocast(w.device.type, enabled=False):
        if _few_states(chain) and gpu.available(w.device):
            return gpu.walk(chain, w, eta, sites=sites, predicted=predicted)
        return eager.walk(chain, w, eta, sites=sites)


def _is_compiled(chain: Chain, w: Tensor) -> bool:
    enough = w.shape[0] * w.shape[2] * len(chain.steps) >= COMPILED_FROM
    return enough and w.device.type == "cpu" and _few_states(chain)


def _few_states(chain: Chain) -> bool:
    return chain.measures is None and chain.a.shape[-1] <= COMPILED_STATES
