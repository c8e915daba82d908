r"""What every posterior takes and gives.

Each latent series has a Gaussian process prior and Gaussian pseudo-observations (sites),

.. math:: q(f) \propto p(f) \prod_t \exp(\eta_t f(t) - \tfrac{1}{2} w_t f(t)^2), \quad
    f \sim GP(0, k)

where a site with precision :math:`w_t = 0` is masked: it changes nothing, whatever its
:math:`\eta_t`, and takes no gradient. Sites of one day add up.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel


@dataclass(frozen=True, eq=False)
class Posterior:
    """Gaussian posteriors of N series of L latents, in the dtype of the sites."""

    mean: Tensor
    """Posterior mean on the days of the sites, shape (N, T, L)."""

    var: Tensor
    """Marginal variance on the days of the sites, shape (N, T, L)."""

    query_mean: Tensor
    """Posterior mean on the query days, shape (N, Q, L)."""

    query_var: Tensor
    """Marginal variance on the query days, shape (N, Q, L)."""

    kl_by_latent: Tensor
    """KL[q || p] in nats, shape (N, L); exactly 0 for an empty series."""

    @property
    def kl(self) -> Tensor:
        """KL[q || p] of each series in nats, shape (N,)."""
        return self.kl_by_latent.sum(-1)


class Inference(Protocol):
    """One way to the posterior; each is a module with these functions.

    All take ``kernel`` of L latents; ``days`` (T,), float64, ascending, repeats allowed; the
    sites' ``w`` and ``eta`` (N, T, L) of one dtype, w >= 0; ``query_days`` (Q,), float64, in any
    order, repeats allowed. All raise ``ValueError`` when these disagree, when a day is not
    finite or out of order, and when a precision is negative or not finite.
    """

    def infer(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
    ) -> Posterior:
        """Return everything; without ``query_days`` Q is 0. Differentiable."""

    def marginals(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return mean and variance (N, Q, L) on the query days, and do nothing else."""

    def components(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each of ``kernel.parts``, shape (N, Q, L, parts)."""

    def log_evidence(self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor) -> Tensor:
        r"""Return the log-density of the pseudo-observations, shape (N, L).

        With :math:`y = \eta / w` this is :math:`\log N(y; 0, K + W^{-1})` over the sites with
        :math:`w > 0`, all constants included; 0 for an empty series.
        """


def checked_sites(
    kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``w`` and ``eta`` with masked sites set to 0, and the query days, or none.

    Raises:
        ValueError: As :class:`Inference` says.
    """
    if w.ndim != 3 or w.shape != eta.shape or w.shape[2] != kernel.latents:
        raise ValueError(
            f"w and eta must both have shape (series, days, latents = {kernel.latents}), got "
            f"{tuple(w.shape)} and {tuple(eta.shape)}; the kernel fixes the latents."
        )
    if w.dtype != eta.dtype or not w.is_floating_point():
        raise ValueError(
            f"w and eta must have one floating dtype, got {w.dtype} and {eta.dtype}; cast one."
        )
    queries = days.new_empty(0) if query_days is None else query_days
    for name, calendar in (("days", days), ("query_days", queries)):
        if calendar.ndim != 1 or calendar.dtype != torch.float64:
            raise ValueError(
                f"{name} must be float64 of one dim (days since 1970), got {calendar.dtype} of "
                f"shape {tuple(calendar.shape)}; float32 holds a day of today to 3 minutes only."
            )
        if not bool(calendar.isfinite().all()):
            raise ValueError(f"{name} must be finite, got {_first_bad(calendar)}; drop it.")
    if len(days) != w.shape[1]:
        raise ValueError(
            f"w has {w.shape[1]} days and the calendar has {len(days)}; give one w a day."
        )
    if bool((days.diff() < 0).any()):
        at = int((days.diff() < 0).nonzero()[0, 0])
        raise ValueError(
            f"days must ascend, but {float(days[at])} at {at} comes before "
            f"{float(days[at + 1])}; sort the days, and w and eta with them."
        )
    if w.numel():
        low, high = torch.aminmax(w.detach())
        if not (bool(low >= 0) and bool(high < math.inf)):
            raise ValueError(
                f"Precisions must be finite and not negative, got values from {float(low)} to "
                f"{float(high)}; a masked observation has precision 0."
            )
    seen = w > 0
    return w.where(seen, 0.0) if w.requires_grad else w, eta.where(seen, 0.0), queries


def _first_bad(calendar: Tensor) -> str:
    at = int((~calendar.isfinite()).nonzero()[0, 0])
    return f"{float(calendar[at])} at {at}"
