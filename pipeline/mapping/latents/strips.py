"""Filter states of the pixels of a strip: read, carried over acquisitions, and written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terralatent.models.gpvae import GPVAE
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import AnyObservations, Sites
from terralatent.models.posteriors.streaming import FilterState, forecast, marginals, prior_state
from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.mapping.latents.states import LIVE, Stops, states_along

__all__ = ["StripStates", "last_clear", "posterior_after"]

Places = NDArray[np.intp]


class StripStates:
    """Filter states of the pixels of a strip, before and after a walk.

    Args:
        group: Root of the latents.
        window: Rows and columns of their grid.
        model: Whose kernel it is, a :class:`GPVAE`.
        stops: States to be made.
        start: Place of the state, among the lags, that is gone on from; None: nothing was seen.
        since: Its day.
    """

    def __init__(
        self,
        group: Any,
        window: tuple[slice, slice],
        model: LatentModel,
        stops: Stops,
        *,
        start: int | None = None,
        since: float = -np.inf,
    ) -> None:
        assert isinstance(model, GPVAE), "others have no states"
        self._live, self._window, self._model = group[LIVE], window, model
        self._stops, self._since = stops, since
        self.shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
        size, array = self.shape[0] * self.shape[1], self._live["moments"]
        self.moments = np.full((size, *array.shape[3:]), np.nan, array.dtype)
        """(N, r, L), NaN for pixels that were outside every scene."""
        self.last = np.full(size, -np.inf)
        """Days of the last clear acquisition, (N,), -inf where there is none."""
        if start is not None:
            self.moments = np.asarray(array[(start, *window)]).reshape(self.moments.shape)
            self.last = np.asarray(self._live["last"][(start, *window)]).ravel()
        self._made = {stop: np.full_like(self.moments, np.nan) for stop in stops}

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Whether a pixel was inside some scene, (N,)."""
        return np.isfinite(self.moments[:, 0, 0])

    def start(self, pixels: Places | slice) -> FilterState:
        """The state of some pixels before the walk, the prior of those that were outside."""
        device = self._model.device
        prior = prior_state(self._model.kernel, 1, self._since)
        moments = torch.from_numpy(self.moments[pixels]).to(device).mT
        known = torch.isfinite(moments[:, :1, :1])
        if not bool(known.all()):
            moments = torch.where(known, moments, prior.moments)
        return FilterState(prior.day, moments, moments.new_zeros(moments.shape[:2]), prior.kernel)

    def end(self, start: FilterState, made: Mapping[int, Tensor]) -> FilterState:
        """The state of some pixels after a walk from a start: its last one, or the start."""
        if 0 not in made:
            return start
        day = start.day.new_tensor(self._stops[0])
        return FilterState(day, made[0].mT, start.evidence, start.kernel)

    @torch.no_grad()
    def infer(
        self, observations: Mapping[str, AnyObservations], days: Tensor
    ) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """Mean and variance (N, Q, L) of some pixels given all their series, and states."""
        model = self._model
        sites = model.sites(observations)
        mean, var = model.inference.marginals(model.kernel, sites.days, sites.w, sites.eta, days)
        return mean, var, states_along(model, None, sites, self._stops)

    def keep(self, pixels: Places | slice, made: Mapping[int, Tensor]) -> None:
        """Take the states of some pixels that a walk made."""
        for stop, moments in made.items():
            self._made[stop][pixels] = moments.cpu().numpy()

    def write(self, series: SeriesBlock) -> None:
        """Write the states that the walk made; ``series`` is of its acquisitions."""
        for stop, day in self._stops.items():
            at = (stop, *self._window)
            self._live["moments"][at] = self._made[stop].reshape(
                *self.shape, *self.moments.shape[1:]
            )
            last = np.maximum(self.last, last_clear(series, day))
            self._live["last"][at] = last.reshape(self.shape)


def last_clear(series: SeriesBlock, until: float) -> NDArray[np.float64]:
    """The day of the last clear acquisition of any sensor up to a day, (N,), -inf without one."""
    last = np.full(len(series), -np.inf)
    for sensor in series.by_sensor.values():
        count = int(np.searchsorted(sensor.days, until, side="right"))
        seen = sensor.observed[:, :count]
        if count:
            latest = count - 1 - seen[:, ::-1].argmax(axis=1)
            np.maximum(last, np.where(seen.any(axis=1), sensor.days[latest], -np.inf), out=last)
    return last


def posterior_after(
    model: GPVAE, start: FilterState, sites: Sites, days: Tensor, end: FilterState
) -> tuple[Tensor, Tensor]:
    """Mean and variance (N, Q, L) on days from the start's on, given it and the sites after it.

    Args:
        model: Whose kernel it is.
        start: What is known before the sites.
        sites: Of N pixels.
        days: Days since 1970-01-01, ascending, (Q,).
        end: What is known after them.
    """
    count = int(torch.searchsorted(days, end.day.to(days)))
    ahead = forecast(model.kernel, end, days[count:])
    if not count:
        return ahead
    given = (model.kernel, start, sites.days, sites.w, sites.eta)
    between = marginals(*given, days[:count])
    mean, var = (torch.cat(parts, dim=1) for parts in zip(between, ahead, strict=True))
    return mean, var
