r"""What every posterior takes and gives.

Each latent series has a Gaussian process prior and Gaussian pseudo-observations (sites),

.. math:: q(f) \propto p(f) \prod_t \exp(\eta_t f(t) - \tfrac{1}{2} w_t f(t)^2), \quad
    f \sim GP(0, k)

where a site with precision :math:`w_t = 0` is masked: it changes nothing, whatever its
:math:`\eta_t`, and takes no gradient. Sites of one day add up.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.kalman.chain import masked

DRAW_JITTER = 1e-10
"""Added to the variance of a prior that is drawn from."""


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


class Inference(ABC):
    r"""One way to the posterior. Forms are frozen dataclasses whose fields are their settings.

    All functions take ``kernel`` of L latents; ``days`` (T,), float64, ascending, repeats allowed;
    the sites' ``w`` and ``eta`` (N, T, L), both float32 or both float64, w from 0 to about 1e4;
    ``query_days`` (Q,), float64, in any order, repeats allowed. All but ``prior`` and ``means``,
    which the others call, raise ``ValueError`` when these disagree, when a day is not finite or out
    of order, and when a precision is negative or not finite.
    """

    keeps_prior: ClassVar[bool]
    """Whether q is a posterior under the kernel's own prior, so that evidence bounds compare."""

    calendar_free: ClassVar[bool]
    """Whether a date that no series saw changes nothing where it is added to the calendar."""

    cost: ClassVar[str]
    """Time for one latent series, T dates seen of which V are not masked."""

    @abstractmethod
    def infer(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
    ) -> Posterior:
        """Return everything; without ``query_days`` Q is 0. Differentiable."""

    @abstractmethod
    def marginals(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return mean and variance (N, Q, L) on the query days, and do nothing else.

        Without ``query_days`` they are those on the days of the sites, (N, T, L).
        """

    @abstractmethod
    def components(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each of ``kernel.parts``, shape (N, Q, L, parts)."""

    def log_evidence(self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor) -> Tensor:
        r"""Return the log density of the pseudo-observations or its bound by q, shape (N, L).

        With :math:`y = \eta / w` it is :math:`E_q \log N(y; f, W^{-1}) - KL[q \| p]` over the
        sites with :math:`w > 0`, all constants included; 0 for an empty series. Forms that
        condition exactly reach :math:`\log N(y; 0, K + W^{-1})` under the prior they use.
        """
        posterior = self.infer(kernel, days, w.double(), eta.double())
        seen = w > 0
        safe = w.double().where(seen, 1.0)
        misfit = (eta.where(seen, 0.0) / safe - posterior.mean).square() + posterior.var
        density = 0.5 * (safe.log() - math.log(2.0 * math.pi) - safe * misfit)
        total: Tensor = density.where(seen, 0.0).sum(1) - posterior.kl_by_latent
        return total.to(w)

    def joint(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""Return mean (N, Q, L) and covariance (N, L, Q, Q) over a few query days.

        With the prior :math:`\tilde K` of this form and its linear map :math:`M` from
        :math:`\eta` to means, :math:`\tilde K_{**} - M(W \tilde K_{t*})`; in float64, because of
        the difference. Costs as much as Q + 1 times the means.
        """
        w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
        prior = self.prior(kernel, days, queries)
        cross = prior[:, :, len(days) :]
        precision = w.double()
        weighted = precision * sites_last(cross[:, : len(days)])
        etas = torch.cat([eta.double()[None], weighted])
        mean, *columns = self.means(kernel, days, precision, etas, queries)
        own = cross[:, len(days) :]
        if not columns:
            return mean.to(w), own.expand(len(w), -1, -1, -1).to(w)
        cov = own - torch.stack(columns, dim=-1).transpose(1, 2)
        return mean.to(w), (0.5 * (cov + cov.mT)).to(w)

    def functionals(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor,
        weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        r"""Return mean and variance of linear functionals of all latents at once, (N, K) each.

        .. math:: c_k = \sum_{q,l} W_{kql} f_l(t_q), \quad
            V c_k = \sum_l W_{kl}^T \, \mathrm{Cov}[f_l] \, W_{kl}

        Arguments:
            kernel: As for :meth:`joint`, and so are the others.
            days: (T,).
            w: (N, T, L).
            eta: (N, T, L).
            query_days: (Q,).
            weights: W, (K, Q, L).
        """
        return mapped_moments(*self.joint(kernel, days, w, eta, query_days), weights)

    def sample(
        self,
        kernel: TemporalKernel,
        days: Tensor,
        w: Tensor,
        eta: Tensor,
        query_days: Tensor,
        count: int,
        generator: torch.Generator,
    ) -> Tensor:
        r"""Draw joint samples on the query days, shape (count, N, Q, L); no gradients.

        By Matheron's rule: a draw of the prior, moved by the means of what it misses,
        :math:`f_* + M(\eta - W f_t - W^{1/2} \epsilon)`. One factor of the prior serves all
        series, latents' sites and samples of a calendar.

        References:
            | Efficiently sampling functions from Gaussian process posteriors (Wilson et al., 2020)
        """
        with torch.no_grad():
            w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
            precision = w.double()
            drawn = draws(self.prior(kernel, days, queries), (count, len(w)), generator)
            seen, ahead = drawn.split([len(days), len(queries)], dim=2)
            noise = randn((count, *w.shape), generator).to(precision)
            etas = eta.double() - precision * seen - precision.sqrt() * noise
            moved: Tensor = ahead + self.means(kernel, days, precision, etas, queries)
            return moved.to(w)

    def prior(self, kernel: TemporalKernel, days: Tensor, queries: Tensor) -> Tensor:
        """Return the prior covariance of what sites and queries see, (L, T + Q, T + Q), float64."""
        everywhere = torch.cat([days, queries])
        return kernel.covariance(everywhere[:, None] - everywhere).movedim(-1, 0)

    @abstractmethod
    def means(
        self, kernel: TemporalKernel, days: Tensor, w: Tensor, etas: Tensor, queries: Tensor
    ) -> Tensor:
        """Return means on the query days for K sets of etas, (K, N, T, L), as (K, N, Q, L).

        What the etas share is computed once. They are 0 where w is; nothing is checked.
        """


def mapped_moments(mean: Tensor, covariance: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of linear functionals, (N, K) each, of a joint posterior.

    Arguments:
        mean: (N, Q, L).
        covariance: (N, L, Q, Q); latents are independent.
        weights: (K, Q, L).
    """
    weights = weights.to(mean)
    by_latent = weights.mT
    squares = by_latent[..., :, None] * by_latent[..., None, :]
    variance = covariance.flatten(1) @ squares.flatten(1).T
    return mean.flatten(1) @ weights.flatten(1).T, variance.clamp_min(0.0)


def sites_last(cross: Tensor) -> Tensor:
    """Return (L, T, Q) as (Q, 1, T, L): for each query what a series has at all sites."""
    return cross.permute(2, 1, 0)[:, None]


def draws(covariance: Tensor, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from N(0, covariance), (L, S, S) float64, as (*lead, S, L).

    The covariance may be singular, as days repeat: its factor is that of one with 1e-10 more on
    the diagonal, a standard deviation of 1e-5.
    """
    latents, size, _ = covariance.shape
    eye = torch.eye(size, dtype=covariance.dtype, device=covariance.device)
    factor = torch.linalg.cholesky(covariance + DRAW_JITTER * eye)
    white = randn((*lead, latents, size), generator).to(covariance)
    drawn: Tensor = torch.einsum("lst,...lt->...sl", factor, white)
    return drawn


def randn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return standard normal numbers, float64, on the device of the generator."""
    where = generator.device
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=where)


def checked_sites(
    kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``w`` and ``eta`` with masked sites set to 0, and the query days, or none.

    Raises:
        ValueError: As :class:`Inference` says.
    """
    queries = check_sites(kernel, days, w, eta, query_days)
    return *masked(w, eta), queries


def check_sites(
    kernel: TemporalKernel, days: Tensor, w: Tensor, eta: Tensor, query_days: Tensor | None
) -> Tensor:
    """Return the query days, or none.

    Raises:
        ValueError: As :class:`Inference` says.
    """
    if w.ndim != 3 or w.shape != eta.shape or w.shape[2] != kernel.latents:
        raise ValueError(
            f"w and eta must both have shape (series, days, latents = {kernel.latents}), got "
            f"{tuple(w.shape)} and {tuple(eta.shape)}; the kernel fixes the latents."
        )
    if w.dtype != eta.dtype or w.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"w and eta must have one floating dtype, float32 or float64, got {w.dtype} and "
            f"{eta.dtype}; cast them."
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
    return queries


def _first_bad(calendar: Tensor) -> str:
    at = int((~calendar.isfinite()).nonzero()[0, 0])
    return f"{float(calendar[at])} at {at}"
