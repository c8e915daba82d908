r"""The Markov posterior that stops and goes on: a filter state, small enough to be stored.

What all observations up to a day say of the days after it is the mean and covariance of the
Markov state on that day. Sites that come later are filtered from there, and the smoother over them
gives on every later day what a smoother over all sites gives. Days before the state's own are
changed by later sites too, and need all of them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors.contract import checked_sites
from terralatent.models.posteriors.kalman import eager
from terralatent.models.posteriors.kalman.chain import link
from terralatent.models.posteriors.kalman.dispatch import carry_chain
from terralatent.models.posteriors.markov import log_densities

LAGS = (1.0, 10.0, 40.0, 150.0, 365.0, 1500.0)
"""Days apart at which two kernels are compared."""


@dataclass(frozen=True, eq=False)
class FilterState:
    """What N series say up to a day, by :func:`update`."""

    day: Tensor
    """Days since 1970-01-01, shape (), float64."""

    moments: Tensor
    """Mean and covariance of the n states, the series itself first: n means, then the n (n + 1) / 2
    different elements of the covariance row by row; shape (N, L, n + n (n + 1) / 2)."""

    evidence: Tensor
    """Log density of all sites so far, shape (N, L)."""

    kernel: Tensor
    """Covariance at some lags, (lags, L), float64: by which the kernel is known again."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what a file must hold, such as one of safetensors; no gradients."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor.detach().clone().contiguous() for name, tensor in parts.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> FilterState:
        """Return the state whose :meth:`tensors` these are.

        Raises:
            ValueError: If others are given, or their shapes disagree.
        """
        names = {field.name for field in fields(cls)}
        if tensors.keys() != names:
            raise ValueError(f"a filter state has {sorted(names)}, got {sorted(tensors)}.")
        state = cls(**tensors)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if state.day.ndim or state.moments.ndim != 3 or shapes["evidence"] != shapes["moments"][:2]:
            raise ValueError(
                "a filter state has a day (), moments (N, L, r) and evidence (N, L), got "
                f"{shapes}; store what tensors() returned, whole."
            )
        return state


def prior_state(kernel: TemporalKernel, series: int, day: Tensor | float) -> FilterState:
    """What is known on a day of N series of which nothing was seen."""
    when = torch.as_tensor(day, dtype=torch.float64, device=kernel.measurement().device)
    like = when.new_zeros((), dtype=kernel_dtype(kernel))
    chain = link(kernel, when[None], when.new_zeros(0), like)
    moments = torch.nn.functional.pad(chain.start, (kernel.state_dim, 0)).detach()
    moments = moments.expand(series, -1, -1)
    return FilterState(when, moments, moments.new_zeros(moments.shape[:2]), _known_by(kernel))


def kernel_dtype(kernel: TemporalKernel) -> torch.dtype:
    """In which states are to be kept."""
    return torch.float64 if kernel.needs_double else torch.float32


def update(
    kernel: TemporalKernel,
    state: FilterState | None,
    days: Tensor,
    w: Tensor,
    eta: Tensor,
    *,
    scored: bool = True,
) -> FilterState:
    """Take later sites into a state; differentiable, on any device.

    Arguments:
        kernel: Of L latents, the same as before.
        state: What the series say so far; None if nothing.
        days: Of the new sites, (T,), float64, ascending, none before the state's; T > 0.
        w: Their precisions, (N, T, L).
        eta: Their informations, (N, T, L).
        scored: Whether the evidence is wanted; it is 0 otherwise, which takes less time.

    Raises:
        ValueError: As every posterior does; if there is no day, if one is before the state's own,
            or if the state is that of other series or of another kernel.
    """
    dtype = w.dtype
    w, eta, nothing = checked_sites(kernel, days, w, eta, None)
    w, eta = (w.double(), eta.double()) if kernel.needs_double else (w, eta)
    if not len(days):
        raise ValueError("an update needs at least one day, got none; keep the state as it is.")
    _check(kernel, state, days, w)
    since, start = (None, None) if state is None else (state.day, state.moments.to(w))
    chain = link(kernel, days, nothing, w, since=since)
    moments, spread, innovation = carry_chain(chain, w, eta, start, predicted=scored)
    if not scored:
        return FilterState(days[-1], moments, w.new_zeros(w.shape[::2]), _known_by(kernel))
    evidence = log_densities(w, spread, innovation).sum(1)
    if state is not None:
        evidence = evidence + state.evidence
    return FilterState(days[-1], moments, evidence.to(dtype), _known_by(kernel))


def marginals(
    kernel: TemporalKernel,
    state: FilterState,
    days: Tensor,
    w: Tensor,
    eta: Tensor,
    query_days: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return mean and variance (N, Q, L) given the state and sites after it; changes no state.

    Arguments:
        kernel: Of L latents, the same as before.
        state: What the series say so far.
        days: Of further sites, (T,), as for :func:`update`; T may be 0.
        w: Their precisions, (N, T, L).
        eta: Their informations, (N, T, L).
        query_days: (Q,), float64, in any order, none before the state's day.

    Raises:
        ValueError: As :func:`update` does.
    """
    dtype = w.dtype
    w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
    w, eta = (w.double(), eta.double()) if kernel.needs_double else (w, eta)
    _check(kernel, state, torch.cat([days, queries]), w)
    chain = link(kernel, days, queries, w, since=state.day)
    walk = eager.walk(chain, w, eta, sites=False, start=state.moments.to(w))
    return walk.query_mean[..., 0].to(dtype), walk.query_var[..., 0].to(dtype)


def forecast(
    kernel: TemporalKernel, state: FilterState, query_days: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and variance (N, Q, L) given the state alone, as :func:`marginals` without sites.

    Nothing is smoothed, so it takes a small part of the time. Float32, or the state's dtype.

    Arguments:
        kernel: Of L latents, the same as before.
        state: What the series say so far.
        query_days: (Q,), float64, in any order, none before the state's day.

    Raises:
        ValueError: As :func:`update` does.
    """
    moments = state.moments.double() if kernel.needs_double else state.moments
    _check(kernel, state, query_days, moments)
    nothing = query_days.new_zeros(0)
    chain = link(kernel, nothing, query_days, moments, since=state.day)
    mean, var = eager.predict(chain, moments)
    return mean.to(state.moments.dtype), var.to(state.moments.dtype)


def _known_by(kernel: TemporalKernel) -> Tensor:
    lags = torch.tensor(LAGS, dtype=torch.float64, device=kernel.measurement().device)
    return kernel.covariance(lags).detach()


def _check(kernel: TemporalKernel, state: FilterState | None, days: Tensor, w: Tensor) -> None:
    if state is None:
        return
    n = kernel.state_dim
    wanted = (len(w), kernel.latents, n + n * (n + 1) // 2)
    if tuple(state.moments.shape) != wanted:
        raise ValueError(
            f"the state has moments of shape {tuple(state.moments.shape)}, these series and this "
            f"kernel of {n} states want {wanted}; go on with the series and kernel it came from."
        )
    known = _known_by(kernel).to(state.kernel.device)
    if not torch.allclose(known, state.kernel, rtol=0.0, atol=1e-9):
        raise ValueError(
            f"the state is that of another kernel than {kernel.description!r} with these "
            "lengthscales and weights: go on with the model it came from, or filter all sites anew."
        )
    if len(days) and float(days.min()) < float(state.day):
        raise ValueError(
            f"day {float(days.min())} is before the state's own, {float(state.day)}: a filter only "
            "goes forward. Infer from all sites again for days before it."
        )
