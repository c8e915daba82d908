"""Gap filling without learning: the latents are the bands themselves, filled in at any day."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.baselines.unlearned.band_series import BandSeries
from terralatent.models.baselines.unlearned.hidden import Fold, hide_acquisitions
from terralatent.models.config import ModelConfig
from terralatent.models.latent_model import LatentModel, Marginals
from terralatent.models.observations import AnyObservations, Observations, merge_calendars, unpacked
from terralatent.models.sensor.predictive import quantile_table, upper_quantile
from terralatent.models.start.covariances import (
    TooFewObservationsError,
    diagonal_plus_factor,
    lifted,
    robust_scatter,
)

__all__ = ["FilledBands"]

log = logging.getLogger(__name__)

CHUNK = 1024
"""Series filled at once, which bounds memory."""

COVERED = 0.9
"""Share of the hidden observations that the interval from q05 to q95 covers in the end."""

ROWS = 50_000
"""Hidden observations that are used at most."""

FACTORS = (0.05, 20.0)
"""Bounds of the factor by which variances are stretched."""


class FilledBands(LatentModel, ABC):
    r"""A model whose latent l is one band of one sensor about the region's mean.

    .. math:: x_b(t) = \bar x_b + s_b\, z_b(t) + \epsilon

    with the region's mean and standard deviation of the band, so that a series without a single
    observation has mean 0. The sensors' bands lie side by side in the order of their names.
    A method gives mean and variance of the surface z; the decoder reads them off, and its noise is
    what hidden training acquisitions miss them by. Nothing is trained by gradients.

    Args:
        config: Its ``latents`` must be the number of all bands, see :meth:`sized`.
        seed: Means nothing here.

    Raises:
        ValueError: If the number of latents is another.
    """

    trainable: ClassVar[bool] = False

    sampled: ClassVar[int] = 256
    """Series of each pool on which the method is fitted."""

    judged: ClassVar[int] = 256
    """Those of them whose errors give the noise."""

    level: Tensor
    size: Tensor

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        count = self.sized(config).latents
        if config.latents != count:
            raise ValueError(
                f"a {config.model} model has one latent for each of the {count} bands, but its "
                f"config has {config.latents} latents; make the config with `sized`."
            )
        super().__init__(config, seed=seed)
        for name in self.sensors:
            # The GP-VAE's encoder of single observations: nothing here reads it.
            del self.sensor(name).encoder
        self.requires_grad_(False)
        self.register_buffer("level", torch.zeros(count))
        self.register_buffer("size", torch.ones(count))

    @classmethod
    def sized(cls, config: ModelConfig) -> ModelConfig:
        """See :meth:`LatentModel.sized`: a latent for each band, and networks as small as can be,
        since they stay zero."""
        count = sum(len(sensor.bands) for sensor in config.sensors)
        return config.model_copy(update={"latents": count, "hidden": 1})

    @property
    def places(self) -> dict[str, slice]:
        """Where each sensor's bands are among the latents."""
        places, at = {}, 0
        for name in sorted(self.sensors):
            places[name] = slice(at, at + len(self.sensor(name).config.bands))
            at = places[name].stop
        return places

    @abstractmethod
    def fill(self, series: Mapping[str, BandSeries], query: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the surface z, each shape (N, Q, L), float32.

        Args:
            series: By sensor name, one or more, all of the same N pixels.
            query: Days since 1970-01-01, any order, shape (Q,), float64.
        """

    @abstractmethod
    def choose(self, folds: Sequence[Fold], seed: int) -> None:
        """Choose and fit what the method has, in place, by what hides training acquisitions."""

    @torch.no_grad()
    def start(self, pools: Sequence[Mapping[str, Observations]], *, seed: int = 0) -> None:
        """See :meth:`LatentModel.start`: here all there is to fit."""
        self._set_units(pools)
        folds = [
            fold
            for pool in pools
            for fold in hide_acquisitions(
                {
                    name: self.normalised(name, seen.select(slice(0, self.sampled)))
                    for name, seen in pool.items()
                }
            )
        ]
        if not any(bool(fold.hidden[name].valid.any()) for fold in folds for name in fold.hidden):
            raise TooFewObservationsError(
                f"a {self.config.model} model judges itself on hidden acquisitions, but no sensor "
                "has two with clear observations; train on a longer period or a larger region."
            )
        self.choose(folds, seed)
        fit_noise(self, [fold.first(self.judged) for fold in folds])

    def normalised(self, name: str, seen: Observations) -> BandSeries:
        """Return z as one sensor saw it."""
        place = self.places[name]
        values = self.sensor(name).normalise(seen.values, seen.valid)
        z = (values - self.level[place]) / self.size[place]
        return BandSeries(seen.days, torch.where(seen.valid, z, 0.0), seen.valid)

    @torch.no_grad()
    def infer(
        self, observations: Mapping[str, AnyObservations], query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`LatentModel.infer`."""
        series = unpacked(observations, self.device)
        pixels = self.check(series)
        shape = (pixels, len(query_days), self.config.latents)
        mean, var = (self.level.new_zeros(shape) for _ in range(2))
        for start in range(0, pixels, CHUNK):
            rows = slice(start, min(start + CHUNK, pixels))
            some = {name: self.normalised(name, seen.select(rows)) for name, seen in series.items()}
            mean[rows], var[rows] = self.fill(some, query_days)
        return mean, var

    def marginals(
        self, seen: Mapping[str, Observations], calendars: Mapping[str, Tensor]
    ) -> Marginals:
        """See :meth:`LatentModel.marginals`; there is no prior to leave, so ``kl`` is 0."""
        own = {name: series.days for name, series in seen.items()}
        days, places = merge_calendars({**calendars, **own})
        mean, var = self.infer(seen, days)
        return Marginals(mean, var, mean.new_zeros(len(mean)), places)

    def _set_units(self, pools: Sequence[Mapping[str, Observations]]) -> None:
        """Set mean and standard deviation of each band over all clear observations of the pools."""
        for name, place in self.places.items():
            sensor = self.sensor(name)
            parts = [pool[name] for pool in pools if name in pool]
            level, size = torch.zeros_like(self.level[place]), torch.ones_like(self.size[place])
            for band in range(len(level)):
                values = [
                    sensor.normalise(part.values, part.valid)[..., band][part.valid[..., band]]
                    for part in parts
                ]
                rows = torch.cat([*values, level.new_zeros(0)]).double()
                if len(rows) > 1:
                    level[band] = rows.mean()
                    size[band] = rows.std().clamp_min(1e-3)
                else:
                    log.warning(
                        "%s has no clear observations in the sample; it stays unknown", name
                    )
            self.level[place], self.size[place] = level, size
            decoder = sensor.decoder
            linear = torch.zeros_like(decoder.linear)
            linear[:, place] = size.diag()
            decoder.set_linear(level, linear, decoder.log_diag.detach(), 0.0 * decoder.factor)


class EachSensor(FilledBands):
    """Methods that fill each sensor's bands from that sensor's own observations."""

    @abstractmethod
    def fill_sensor(self, place: slice, series: BandSeries, query: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the surface z of one sensor, each shape (N, Q, B).

        Args:
            place: Of its bands among the latents.
            series: What it saw.
            query: Days since 1970-01-01, any order, shape (Q,), float64.
        """

    def unseen_variance(self) -> Tensor:
        """Return the variance of the surface z where nothing was seen, shape (L,): 1, the region's,
        where a method knows no better."""
        return torch.ones_like(self.size)

    def fill(self, series: Mapping[str, BandSeries], query: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`FilledBands.fill`; bands of absent sensors keep the region's mean."""
        shape = (len(next(iter(series.values()))), len(query), self.config.latents)
        mean, var = self.level.new_zeros(shape), self.unseen_variance().expand(shape).clone()
        for name, place in self.places.items():
            if name in series and len(series[name].days):
                filled = self.fill_sensor(place, series[name], query)
                mean[..., place], var[..., place] = filled
        return mean, var


def fit_noise(model: FilledBands, folds: Sequence[Fold]) -> None:
    """Set the decoders' noise, and stretch each band's variances until they cover.

    The noise is the robust scatter of the errors less the method's own variance of the surface.
    Then the variances of each band, noise and surface alike, are multiplied by the factor with
    which nine of ten hidden observations lie between the predicted quantiles.

    Args:
        model: Its method is set; changed in place.
        folds: What is hidden.
    """
    errors: dict[str, list[Tensor]] = defaultdict(list)
    surfaces: dict[str, list[Tensor]] = defaultdict(list)
    for fold in folds:
        days, at = merge_calendars({name: series.days for name, series in fold.hidden.items()})
        mean, var = model.fill(fold.seen, days)
        for name, hidden in fold.hidden.items():
            place, whole = model.places[name], hidden.valid.all(-1)
            errors[name].append((mean[:, at[name], place] - hidden.values)[whole])
            surfaces[name].append(var[:, at[name], place][whole])
    for name in errors:
        _set_noise(model, name, torch.cat(errors[name]), torch.cat(surfaces[name]))


def _set_noise(model: FilledBands, name: str, error: Tensor, surface: Tensor) -> None:
    """Set one sensor's by the errors (M, B) and the variances of the surface there."""
    size = model.size[model.places[name]].double()
    bands = len(size)
    if len(error) <= bands:
        return
    thin = slice(None, None, -(-len(error) // ROWS))
    error, surface = error[thin].double() * size, surface[thin].double() * size.square()
    sensor = model.sensor(name)
    ratio = float(sensor.likelihood.variance_ratio().detach())
    dof = 2.0 * ratio / (ratio - 1.0) if ratio > 1.0 else 1e6
    _, scatter = robust_scatter(error, error.new_zeros(bands), dof)
    left = lifted(scatter - surface.mean(0).diag() / ratio, 0.2 * scatter.diagonal())
    diagonal, factor = diagonal_plus_factor(left, sensor.decoder.factor.shape[-1])
    decoder = sensor.decoder
    decoder.set_linear(
        decoder.bias.detach(),
        decoder.linear.detach(),
        diagonal.log().float(),
        factor.float(),
    )
    table = quantile_table(sensor.likelihood.mixture(), 0.5 + 0.5 * COVERED)
    reach = upper_quantile(table, surface, left.diagonal().expand_as(surface))
    stretch = _quantile(error.abs() / reach, COVERED).square().clamp(*FACTORS).float()
    sensor.noise_factor.copy_(stretch)
    sensor.signal_factor.copy_(stretch)


def _quantile(values: Tensor, share: float) -> Tensor:
    """Of each column; ``torch.quantile`` takes 16 million numbers at most."""
    place = min(len(values) - 1, round(share * len(values)))
    return values.sort(0).values[place]
