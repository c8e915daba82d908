r"""Exact inference in a linear model of coregionalisation, for many series at once.

.. math:: x_s(t) = D_s f(t) + \epsilon, \quad f_q \sim GP(0, k_{\ell_q}), \quad
    \epsilon \sim N(0, R_s / \tau)

A dense solution has a row for each band of each observation, a thousand for a pixel. Two exact
steps make it small: the bands of one observation, whitened by the noise they share, say no more of
f than their projection on the columns of the whitened D (Q numbers at most, whose noise is white);
and Matérn-3/2 processes have two states each, so that a Kalman filter and the modified
Bryson-Frazier smoother, which inverts nothing, go along the dates. Pixels lie in the last dim of
every tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.band_series import BandSeries
from terralatent.models.kernels.matern32 import Matern32

__all__ = ["Coregionalisation", "Sites", "Smoothed", "project_observations", "smooth_observations"]


@dataclass(frozen=True)
class Coregionalisation:
    """What all pixels share; float64."""

    mixing: Mapping[str, Tensor]
    """D of each sensor, shape (B_s, Q)."""

    noise: Mapping[str, Tensor]
    """R of each sensor, shape (B_s, B_s)."""

    lengthscale: Tensor
    """Of each process in days, shape (Q,)."""


@dataclass(frozen=True)
class Sites:
    """One sensor's observations as pseudo-observations e = A f + white noise of variance 1 / w."""

    days: Tensor
    """shape (T,), float64."""

    e: Tensor
    """shape (r, T, N)."""

    mixing: Tensor
    """A, shape (r, Q, T, N)."""

    w: Tensor
    """shape (T, N), 0 where nothing was seen."""

    rest: Tensor
    """Squared length of what the whitened bands hold beside e, shape (T, N)."""

    count: Tensor
    """Valid bands, shape (T, N)."""


@dataclass(frozen=True)
class Smoothed:
    """The processes f on some days."""

    mean: Tensor
    """shape (Q, days, N)."""

    covariance: Tensor
    """shape (Q, Q, days, N)."""


def project_observations(series: BandSeries, mixing: Tensor, noise: Tensor) -> Sites:
    """Whiten and project the observations of one sensor, for each set of bands that occurs.

    Args:
        series: What it saw of N pixels on T days; its dtype is that of the sites.
        mixing: D, shape (B, Q), float64.
        noise: R, shape (B, B), float64, positive definite.
    """
    bands, latents = mixing.shape
    rank = min(bands, latents)
    code = (series.valid.long() << torch.arange(bands, device=series.valid.device)).sum(-1)
    values = series.values
    e = values.new_zeros(*code.shape, rank)
    a = values.new_zeros(*code.shape, rank, latents)
    rest = values.new_zeros(code.shape)
    for pattern in code.unique().tolist():
        seen = [band for band in range(bands) if pattern >> band & 1]
        if not seen:
            continue
        lower = torch.linalg.cholesky(noise[seen][:, seen])
        whitener = torch.linalg.inv(lower)
        basis, small = torch.linalg.qr(whitener @ mixing[seen])
        rows = code == pattern
        whitened = values[rows][:, seen] @ whitener.T.to(values)
        kept = whitened @ basis.to(values)
        used = kept.shape[-1]
        e[rows] = torch.nn.functional.pad(kept, (0, rank - used))
        a[rows] = torch.nn.functional.pad(small.to(values), (0, 0, 0, rank - used))
        rest[rows] = (whitened.square().sum(-1) - kept.square().sum(-1)).clamp_min(0.0)
    count = series.valid.sum(-1).to(e.dtype)
    return Sites(
        days=series.days,
        e=e.permute(2, 1, 0).contiguous(),
        mixing=a.permute(2, 3, 1, 0).contiguous(),
        w=(count.T > 0).to(e.dtype),
        rest=rest.T,
        count=count.T,
    )


@dataclass(frozen=True)
class _Step:
    """What the way back needs of one scalar update."""

    h: Tensor
    gain: Tensor
    precision: Tensor
    innovation: Tensor


def smooth_observations(
    sites: Mapping[str, Sites], lengthscale: Tensor, queries: Mapping[str, Tensor]
) -> dict[str, Smoothed]:
    """Return the processes given all observations, on some calendars of any order.

    Args:
        sites: By sensor name, all of the same N pixels.
        lengthscale: shape (Q,), days.
        queries: Days by a name, shape (days,), float64.
    """
    latents = len(lengthscale)
    lanes = next(iter(sites.values())).w.shape[-1]
    like = next(iter(sites.values())).e
    events = [
        (float(day), 0, name, at)
        for name, own in sorted(sites.items())
        for at, day in enumerate(own.days.tolist())
        if bool((own.w[at] > 0).any())
    ]
    events += [
        (day, 1, name, at) for name, days in queries.items() for at, day in enumerate(days.tolist())
    ]
    events.sort(key=lambda event: event[:2])
    smoothed = {
        name: Smoothed(
            like.new_zeros(latents, len(days), lanes),
            like.new_zeros(latents, latents, len(days), lanes),
        )
        for name, days in queries.items()
    }
    transitions, noises = _transitions(lengthscale, [event[0] for event in events], like)

    mean = like.new_zeros(2 * latents, lanes)
    cov = torch.eye(2 * latents, dtype=like.dtype, device=like.device)
    cov = cov[:, :, None].expand(-1, -1, lanes).clone()
    kept: list[list[_Step] | tuple[Tensor, Tensor]] = []
    for (_, kind, name, at), a, q in zip(events, transitions, noises, strict=True):
        if a is not None and q is not None:
            mean = a @ mean
            half = torch.tensordot(a, cov, 1)
            cov = torch.tensordot(a, half.transpose(0, 1), 1) + q[:, :, None]
        if kind == 1:
            kept.append((mean[:latents].clone(), cov[:latents].clone()))
            continue
        site, steps = sites[name], []
        for row in range(len(site.e)):
            h, w = site.mixing[row, :, at], site.w[at]
            reach = (h[:, None] * cov[:latents]).sum(0)
            precision = w / (1.0 + w * (h * reach[:latents]).sum(0))
            innovation = site.e[row, at] - (h * mean[:latents]).sum(0)
            gain = reach * precision
            mean = mean + gain * innovation
            cov = cov - gain[:, None] * reach
            steps.append(_Step(h, gain, precision, innovation))
        kept.append(steps)

    pull = torch.zeros_like(mean)
    grip = torch.zeros_like(cov)
    for (_, _, name, at), a, memo in zip(
        reversed(events), reversed(transitions), reversed(kept), strict=True
    ):
        if isinstance(memo, tuple):
            there, wide = memo
            smoothed[name].mean[:, at] = there - (wide * pull).sum(1)
            # Products of small matrices, pixel by pixel; sums over a dim keep pixels last.
            half = (wide[:, :, None] * grip).sum(1)
            less = (half[:, None] * wide).sum(2)
            smoothed[name].covariance[:, :, at] = wide[:, :latents] - less
        else:
            for step in reversed(memo):
                force = (step.gain * pull).sum(0) + step.precision * step.innovation
                pull[:latents] -= step.h * force
                lever = (step.gain[:, None] * grip).sum(0)
                stiff = (step.gain * lever).sum(0) + step.precision
                grip[:latents] -= step.h[:, None] * lever
                grip[:, :latents] -= lever[:, None] * step.h
                grip[:latents, :latents] += step.h[:, None] * step.h * stiff
        if a is not None:
            pull = a.T @ pull
            half = torch.tensordot(a.T, grip, 1)
            grip = torch.tensordot(a.T, half.transpose(0, 1), 1)
    return smoothed


def _transitions(
    lengthscale: Tensor, days: list[float], like: Tensor
) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Transition and noise (2 Q, 2 Q) before each event; none where no time has passed."""
    steps = torch.tensor(days, dtype=torch.float64).diff()
    kernel = Matern32(len(lengthscale), lengthscale.float(), learnable=False)
    whole: list[list[Tensor | None]] = [[None], [None]]
    for part, blocks in zip(whole, kernel.transition(steps), strict=True):
        # From (steps, Q, 2, 2) to states in the order f_1 ... f_Q, f'_1 ... f'_Q.
        square = torch.diag_embed(blocks.permute(0, 2, 3, 1)).permute(0, 1, 3, 2, 4)
        square = square.flatten(3).flatten(1, 2).to(like)
        part += [
            move if step > 0.0 else None for move, step in zip(square, steps.tolist(), strict=True)
        ]
    if not days:
        return [], []
    return whole[0], whole[1]
