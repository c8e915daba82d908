r"""The Markov posterior that stops and goes on: a filter state, small enough to be stored.

What all observations up to a day tell about the days after it is the mean and covariance of the
Markov state on that day. Sites that come later are filtered from there, and the smoother over them
gives on every later day what a smoother over all sites gives. Days before the state's own are
changed by later sites too, and need all of them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from terralatent.models.kernels.temporal import TemporalKernel
from terralatent.models.posteriors import recursion
from terralatent.models.posteriors.chain import link
from terralatent.models.posteriors.contract import checked_sites
from terralatent.models.posteriors.markov import log_densities


@dataclass(frozen=True, eq=False)
class FilterState:
    """What N series told up to a day, by :func:`update`."""

    day: Tensor
    """Days since 1970-01-01, shape (), float64."""

    moments: Tensor
    """Mean and covariance of the n states, the series itself first: n means, then the n (n + 1) / 2
    different elements of the covariance row by row; shape (N, L, n + n (n + 1) / 2)."""

    evidence: Tensor
    """Log density of all sites so far, shape (N, L)."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what a file must hold, such as one of safetensors; no gradients."""
        parts = {"day": self.day, "moments": self.moments, "evidence": self.evidence}
        return {name: each.detach().clone().contiguous() for name, each in parts.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> FilterState:
        """Return the state whose :meth:`tensors` these are.

        Raises:
            ValueError: If others are given, or their shapes disagree.
        """
        names = {"day", "moments", "evidence"}
        if tensors.keys() != names:
            raise ValueError(f"a filter state has {sorted(names)}, got {sorted(tensors)}.")
        state = cls(**tensors)
        shapes = {name: tuple(each.shape) for name, each in tensors.items()}
        if state.day.ndim or state.moments.ndim != 3 or shapes["evidence"] != shapes["moments"][:2]:
            raise ValueError(
                "a filter state has a day (), moments (N, L, r) and evidence (N, L), got "
                f"{shapes}; store what tensors() returned, whole."
            )
        return state


def update(
    kernel: TemporalKernel, state: FilterState | None, days: Tensor, w: Tensor, eta: Tensor
) -> FilterState:
    """Take later sites into a state; differentiable, on any device.

    Arguments:
        kernel: Of L latents, the same as before.
        state: What the series told so far; None if nothing.
        days: Of the new sites, (T,), float64, ascending, none before the state's; T > 0.
        w: Their precisions, (N, T, L).
        eta: Their informations, (N, T, L).

    Raises:
        ValueError: As every posterior does; if there is no day, if one is before the state's own,
            or if the state is that of other series or of another kernel.
    """
    w, eta, nothing = checked_sites(kernel, days, w, eta, None)
    if not len(days):
        raise ValueError("an update needs at least one day, got none; keep the state as it is.")
    _check(kernel, state, days, w)
    since, start = (None, None) if state is None else (state.day, state.moments.to(w))
    chain = link(kernel, days, nothing, w, since=since)
    moments, spread, innovation = recursion.carry(chain, w, eta, start)
    evidence = log_densities(w, spread, innovation).sum(1)
    if state is not None:
        evidence = evidence + state.evidence
    return FilterState(days[-1], moments, evidence)


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
        state: What the series told so far.
        days: Of further sites, (T,), as for :func:`update`; T may be 0.
        w: Their precisions, (N, T, L).
        eta: Their informations, (N, T, L).
        query_days: (Q,), float64, in any order, none before the state's day.

    Raises:
        ValueError: As :func:`update` does.
    """
    w, eta, queries = checked_sites(kernel, days, w, eta, query_days)
    _check(kernel, state, torch.cat([days, queries]), w)
    chain = link(kernel, days, queries, w, since=state.day)
    walk = recursion.walk(chain, w, eta, sites=False, start=state.moments.to(w))
    return walk.query_mean[..., 0], walk.query_var[..., 0]


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
    if len(days) and float(days.min()) < float(state.day):
        raise ValueError(
            f"day {float(days.min())} is before the state's own, {float(state.day)}: a filter only "
            "goes forward. Infer from all sites again for days before it."
        )
