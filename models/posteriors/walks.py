"""Which of the recursions walks a chain: eager, compiled for the CPU, or launched on a GPU."""

from torch import Tensor

from terralatent.models.posteriors import launched, recursion
from terralatent.models.posteriors.chain import Chain, Walk

COMPILED_FROM = 200_000
"""Series times latents times visits from which the compiled recursion is used on the CPU.

It is several times as fast, but a machine that never ran it compiles it first, for some seconds.
"""

COMPILED_STATES = 5
"""Most states of which a step is compiled: the time to compile grows with their third power."""


def walk_chain(chain: Chain, w: Tensor, eta: Tensor, *, sites: bool, predicted: bool) -> Walk:
    """Filter and smooth sites (N, T, L), in the way that suits the device and the amount of work.

    Arguments:
        chain: What calendar and kernel fix.
        w: Precisions, (N, T, L).
        eta: The same shape, dtype and device.
        sites: Whether mean and variance are wanted on the days of the sites.
        predicted: Whether spread and innovation are wanted.
    """
    known = chain.measures is None and chain.a.shape[-1] <= COMPILED_STATES
    if w.device.type == "cuda" and known and launched.available(w.device):
        return launched.walk(chain, w, eta, sites=sites, predicted=predicted)
    enough = w.shape[0] * w.shape[2] * len(chain.visits) >= COMPILED_FROM
    if enough and known and w.device.type == "cpu":
        from terralatent.models.posteriors import fused  # numba takes a second to import

        return fused.walk(chain, w, eta, sites=sites, predicted=predicted)
    return recursion.walk(chain, w, eta, sites=sites)
