"""Robust multi-output Gaussian process over the bands of all sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.band_series import BandSeries
from terralatent.models.baselines.unlearned.coregionalisation import (
    Coregionalisation,
    project_observations,
    smooth_observations,
)
from terralatent.models.baselines.unlearned.hidden import Fold
from terralatent.models.baselines.unlearned.model import FilledBands
from terralatent.models.baselines.unlearned.robust import weigh_observations
from terralatent.models.config import ModelConfig
from terralatent.models.observations import merge_calendars
from terralatent.models.start.covariances import TooFewObservationsError

__all__ = ["MOGPR", "PROCESSES"]

PROCESSES = 8
"""Processes that all bands share; fewer where there are fewer bands."""

DRAWS = 2
"""Samples on which the evidence is raised, one after the other."""

JUDGES = 64
"""Series by whose hidden observations one of the fits is chosen."""

LANES = 256
"""Series smoothed at once, which bounds memory."""


class MOGPR(FilledBands):
    r"""All bands of all sensors as mixtures of the same Matérn-3/2 processes.

    .. math:: z_s(t) = D_s f(t), \quad y_{s,t} \sim t_\nu(z_s(t), R_s), \quad
        f_q \sim GP(0, k_{\ell_q})

    A linear model of coregionalisation with full noise covariances (the bands of one observation
    share its haze), and a Student-t for each observation. D, R and the lengthscales are fitted by
    the evidence of sampled series on GPyTorch's kernels and shared by all pixels; the field fits
    each pixel alone. Inference is exact over all valid bands of all sensors, see
    :mod:`~terralatent.models.baselines.unlearned.coregionalisation`, but for the weights of the
    observations, which are found by iteration.

    References:
        | Fusing optical and SAR time series for LAI gap filling with multioutput Gaussian
        | processes (Pipia et al., 2019)
    """

    judged: ClassVar[int] = 96

    mixing: Tensor
    noise: Tensor
    lengthscale: Tensor

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        outputs = config.latents
        processes = min(outputs, PROCESSES)
        self.register_buffer("mixing", torch.eye(outputs, processes))
        self.register_buffer("noise", 0.5 * torch.eye(outputs))
        self.register_buffer("lengthscale", torch.full((processes,), 60.0))

    def choose(self, folds: Sequence[Fold], seed: int) -> None:
        """See :meth:`FilledBands.choose`: the evidence of training observations of one pool,
        of several samples the one whose fit fills hidden ones best."""
        # It brings GPyTorch, which takes a second to import and serves training alone.
        from terralatent.models.baselines.unlearned.evidence import fit_coregionalisation

        # All observations of a pool, those that a fold hides too: the pool with most sensors.
        pool = _joined(max(folds, key=lambda fold: len(fold.seen)))
        judges = [fold.first(JUDGES) for fold in folds[::2]]
        best: tuple[float, Coregionalisation] | None = None
        for draw in range(DRAWS):
            fitted = fit_coregionalisation(
                pool, self.places, len(self.lengthscale), DRAWS * seed + draw
            )
            if fitted is None:
                raise TooFewObservationsError(
                    "no pixel of the sample has two clear observations of each of "
                    f"{sorted(pool)}; train on a longer period or a larger region, or with fewer "
                    "sensors."
                )
            self._set(fitted)
            error = self._error(judges)
            if best is None or error < best[0]:
                best = error, fitted
        assert best is not None
        self._set(best[1])

    def _set(self, fitted: Coregionalisation) -> None:
        for name, place in self.places.items():
            self.mixing[place] = fitted.mixing[name].float()
            self.noise[place, place] = fitted.noise[name].float()
        self.lengthscale.copy_(fitted.lengthscale)

    def _error(self, folds: Sequence[Fold]) -> float:
        """Mean squared error over all hidden values, each sensor with the same say."""
        total: dict[str, list[float]] = {}
        for fold in folds:
            days, at = merge_calendars({name: series.days for name, series in fold.hidden.items()})
            mean, _ = self.fill(fold.seen, days)
            for name, hidden in fold.hidden.items():
                missed = (mean[:, at[name], self.places[name]] - hidden.values)[hidden.valid]
                kept = total.setdefault(name, [0.0, 0.0])
                kept[0] += float(missed.double().square().sum())
                kept[1] += len(missed)
        return sum(error / max(count, 1.0) for error, count in total.values())

    def coregionalisation(self) -> Coregionalisation:
        """What was fitted."""
        places = self.places
        return Coregionalisation(
            {name: self.mixing[place].double() for name, place in places.items()},
            {name: self.noise[place, place].double() for name, place in places.items()},
            self.lengthscale.double(),
        )

    def fill(self, series: Mapping[str, BandSeries], query: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`FilledBands.fill`."""
        shared = self.coregionalisation()
        mixing = self.mixing
        dated = {name: seen for name, seen in series.items() if len(seen.days)}
        pixels = len(next(iter(series.values())))
        means, variances = [], []
        for start in range(0, pixels, LANES):
            rows = slice(start, start + LANES)
            sites = {
                name: project_observations(
                    BandSeries(seen.days, seen.values[rows], seen.valid[rows]),
                    shared.mixing[name],
                    shared.noise[name],
                )
                for name, seen in dated.items()
            }
            sites = weigh_observations(sites, shared.lengthscale)
            smoothed = smooth_observations(sites, shared.lengthscale, {"query": query})["query"]
            means.append(torch.einsum("lp,pqn->nql", mixing, smoothed.mean))
            variances.append(torch.einsum("lp,prqn,lr->nql", mixing, smoothed.covariance, mixing))
        var = torch.cat(variances).clamp_min(1e-6)
        return torch.cat(means), var


def _joined(fold: Fold) -> dict[str, BandSeries]:
    """A pool with what was hidden back in its place."""
    joined = {}
    for name, seen in fold.seen.items():
        hidden = fold.hidden[name]
        at = torch.isin(seen.days, hidden.days)
        values, valid = seen.values.clone(), seen.valid.clone()
        values[:, at], valid[:, at] = hidden.values, hidden.valid
        joined[name] = BandSeries(seen.days, values, valid)
    return joined
