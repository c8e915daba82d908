"""What every model of pixel series has in common: latents at dates, and bands decoded from them."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.observations import AnyObservations, Observations, merge_calendars
from terralatent.models.sensor.model import Prediction, SensorModel
from terralatent.models.sensor.networks import season
from terralatent.models.sensor.predictive import predictive_log_density
from terralatent.models.sensor.widths import WIDTHS, tempered

__all__ = ["Elbo", "HeldOut", "LatentModel", "Marginals"]

SEASON_KEPT = 0.5
"""Share of the series whose decoders know the time of year in training."""


class Elbo(NamedTuple):
    """The bound on the log evidence of each series, in nats, shape (N,); normalised units."""

    elbo: Tensor
    loglik: Tensor
    kl: Tensor


class HeldOut(NamedTuple):
    """How well hidden observations of one sensor were predicted, normalised units."""

    days: Tensor
    """Days on which anything was hidden, shape (T,), float64."""

    valid: Tensor
    """What was hidden, shape (N, T, B), bool."""

    log_density: Tensor
    """Joint predictive log density over the hidden bands of an observation, shape (N, T), 0 where
    nothing was hidden. Take the sum of log spread over those bands off for physical units."""

    error: Tensor
    """Predicted minus hidden, shape (N, T, B), 0 where nothing was hidden."""


@dataclass(frozen=True)
class Marginals:
    """What a model says of the latents on the union of some calendars; gradients are kept."""

    mean: Tensor
    """shape (N, T, L), float32."""

    var: Tensor
    """shape (N, T, L), float32."""

    kl: Tensor
    """From the prior, nats, shape (N,)."""

    places: Mapping[str, Tensor]
    """For each sensor, where its own days are along T, shape (T_sensor,), int64."""


class LatentModel(nn.Module, ABC):
    """Observations of any sensors on any days -> Gaussian latents at any day -> bands.

    A family of models is one subclass: it has its own way to the marginals. Decoders,
    likelihoods and calibration are the sensors' own and the same in all families.

    Args:
        config: Sensors, sizes and choices.
        seed: Of the initial networks; each sensor's depend on the seed and its own name only.
    """

    local_std: Tensor

    trainable: ClassVar[bool] = True
    """Whether anything is left to learn by gradients after the start."""

    linear_start: ClassVar[bool] = False
    """Whether training starts at the linear solution of :mod:`terralatent.models.start.linear`;
    other families have a :meth:`start` of their own."""

    takes_sensors: ClassVar[bool] = False
    """Whether a trained model can be given further sensors, beside which the old ones stay."""

    encoder_dtypes: ClassVar[tuple[str, ...]] = ("float32",)
    """Names of the dtypes in which the encoders' networks compute, see :meth:`encode_in`."""

    has_scene_errors: ClassVar[bool] = False
    """Whether errors that an acquisition shares over a scene are estimated by it, see
    :mod:`terralatent.models.scene_errors`."""

    has_joint: ClassVar[bool] = False
    """Whether it gives the covariance of latents between dates, and what of them is static, by
    :meth:`~terralatent.models.gpvae.GPVAE.joint` and
    :meth:`~terralatent.models.gpvae.GPVAE.static`.
    """

    own_choices: ClassVar[tuple[str, ...]] = ()
    """Fields of :class:`~terralatent.models.config.ModelConfig` that this family reads and others
    do not."""

    rate: ClassVar[float | None] = None
    """Learning rate of all parameters, for families that start from little; None: the schedule's
    own, which are small because they only refine what the linear start has set."""

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.sensors = nn.ModuleDict()
        for sensor in sorted(config.sensors, key=lambda sensor: sensor.name):
            self.sensors[sensor.name] = initial_sensor(sensor, config, seed)
        local = bool(config.local_widths)
        self.register_buffer("local_std", torch.ones(config.latents), persistent=local)

    @property
    def device(self) -> torch.device:
        """Where the model lies; known of those without parameters too."""
        return next(chain(self.parameters(), self.buffers())).device

    @classmethod
    def sized(cls, config: ModelConfig) -> ModelConfig:
        """Return the config with the sizes that follow from its sensors in this family, if any."""
        return config

    def sensor(self, name: str) -> SensorModel:
        """Return the decoder and all else that belongs to one sensor.

        Raises:
            ValueError: If the model has no such sensor.
        """
        return cast(SensorModel, self.sensors[self.config.sensor(name).name])

    def start(self, pools: Sequence[Mapping[str, Observations]], *, seed: int = 0) -> None:
        """Set from data what a family without a linear start sets before training, in place.

        Args:
            pools: Series of some hundred pixels, one pool for each calendar, by sensor name.
            seed: Of random draws.

        Raises:
            TooFewObservationsError: If a sensor has too few clear observations to start from.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no start of its own; start it with "
            "terralatent.models.start.linear.start_model, which knows the start of each family."
        )

    def encode_in(self, dtype: torch.dtype) -> None:
        """Let the encoders' networks compute in ``dtype``; all else stays float32.

        Args:
            dtype: One of :attr:`encoder_dtypes`.

        Raises:
            ValueError: If the dtype is another.
        """
        name = str(dtype).removeprefix("torch.")
        if name not in self.encoder_dtypes:
            known = " or ".join(self.encoder_dtypes)
            raise ValueError(f"encoders compute in {known}, not in {dtype}.")

    @abstractmethod
    def marginals(
        self, seen: Mapping[str, Observations], calendars: Mapping[str, Tensor]
    ) -> Marginals:
        """Infer the latents on the union of the days seen and of ``calendars``; for training.

        Args:
            seen: By sensor name, all of the same N pixels.
            calendars: Days by sensor name, shape (T_s,); those of sensors that are seen are the
                same as there.
        """

    @abstractmethod
    def infer(
        self, observations: Mapping[str, AnyObservations], query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return marginal mean and variance of the latents, each shape (N, Q, L), float32.

        They may be views of memory in another order; ``contiguous`` if you need it.

        Args:
            observations: By sensor name, all of the same N pixels.
            query_days: Days since 1970-01-01, any order, shape (Q,), float64.
        """

    def timescales(self) -> dict[str, Tensor]:
        """Time-scales of each latent in days, shape (L,), by name; empty where there are none."""
        return {}

    def moves_means(self, name: str) -> bool:
        """Whether posterior means depend on an entry of ``state_dict``; if in doubt, yes."""
        return name.rpartition(".")[2] not in WIDTHS

    def latent_std(self, variance: Tensor) -> Tensor:
        r"""Return the standard deviations of latents as they hold at the place of calibration.

        Args:
            variance: As :meth:`infer` gives it, shape (\*, L).
        """
        variance = variance.clamp_min(0.0)
        if self.config.local_widths:
            # Where approximations know less than the prior, nothing is left to temper.
            known = tempered(variance.clamp_max(1.0), self.local_std)
            variance = torch.where(variance < 1.0, known, variance)
        return variance.sqrt()

    def latent_covariance(self, covariance: Tensor) -> Tensor:
        """Return covariances of latents over dates as they hold at the place of calibration.

        Args:
            covariance: As :meth:`~terralatent.models.gpvae.GPVAE.joint` gives it, (N, L, Q, Q).
        """
        if not self.config.local_widths:
            return covariance
        variance = covariance.diagonal(dim1=-2, dim2=-1)
        known = self.latent_std(variance.transpose(1, 2)).transpose(1, 2)  # of (N, Q, L)
        ratio = known / variance.clamp_min(1e-12).sqrt()
        return covariance * ratio[..., None] * ratio[..., None, :]

    def decode(
        self,
        sensor: str,
        mean: Tensor,
        var: Tensor,
        days: Tensor,
        bands: Sequence[str] | None = None,
    ) -> Prediction:
        """Predict the bands of a sensor from marginals of the latents.

        Args:
            sensor: Its name.
            mean: shape (N, Q, L), float32.
            var: shape (N, Q, L), float32.
            days: Days since 1970-01-01, shape (Q,), float64.
            bands: Names of the B that are wanted, in that order; all in the model's if None.

        Returns:
            Physical units, shape (N, Q, B).

        Raises:
            ValueError: If the model has no such sensor, or the sensor no such band.
        """
        places = None if bands is None else self.sensor(sensor).config.places(bands)
        whole = self.sensor(sensor).predict(mean, var, days)
        if places is None:
            return whole
        parts = (getattr(whole, field.name) for field in fields(whole))
        return Prediction(*(part[..., places] for part in parts))

    def elbo(
        self,
        seen: Mapping[str, Observations],
        counted: Mapping[str, Observations],
        generator: torch.Generator,
    ) -> Elbo:
        r"""Return a one-sample estimate of the bound, where q sees less than is counted.

        .. math:: E_{q(z | seen)}[\log p(counted | z)] - KL[q(z | seen) \,\|\, p(z)]

        It bounds the log evidence of ``counted`` whatever q has seen, and teaches q to fill gaps.
        The noise depends on the generator and the shapes only, not on what is masked.

        Args:
            seen: What q sees, by sensor name; whole sensors may be absent.
            counted: What the likelihood counts; sensors that are also seen have the same days.
            generator: Draws the latents, and which series' decoders know the time of year.

        Raises:
            ValueError: If a sensor has other days in ``seen`` than in ``counted``.
        """
        self.check(counted)
        for name in seen.keys() & counted.keys():
            if not torch.equal(seen[name].days, counted[name].days):
                raise ValueError(
                    f"{name}: what q sees has other days than what is counted; hide observations "
                    "with Observations.hide, which keeps the days."
                )
        q = self.marginals(seen, {name: series.days for name, series in counted.items()})
        pixels, total, latents = q.mean.shape
        mean = q.mean.reshape(-1, latents)
        var = q.var.reshape(-1, latents)
        device = mean.device
        known = torch.rand(pixels, generator=generator, device=generator.device) < SEASON_KEPT
        known = known.to(device)
        loglik = mean.new_zeros(pixels)
        for name in sorted(counted):
            series, sensor = counted[name], self.sensor(name)
            shape = (pixels, len(series.days), latents)
            noise = self.draw(shape, generator).to(device)
            pixel, date = series.observed.nonzero(as_tuple=True)
            row = pixel * total + q.places[name][date]
            std = var.index_select(0, row).clamp_min(1e-10).sqrt()
            latent = mean.index_select(0, row) + std * noise[pixel, date]
            density = sensor.log_likelihood(
                latent,
                series.values[pixel, date],
                series.valid[pixel, date],
                season(series.days)[date],
                known[pixel],
            )
            laid = mean.new_zeros(pixels * len(series.days))
            laid = laid.index_copy(0, pixel * len(series.days) + date, density)
            loglik = loglik + laid.reshape(pixels, -1).sum(-1)
        return Elbo(loglik - q.kl, loglik, q.kl)

    def draw(self, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
        """Draw the standard normal noise (N, T, L) by which latents leave their means."""
        return torch.randn(shape, generator=generator, device=generator.device)

    @torch.no_grad()
    def log_predictive(
        self, seen: Mapping[str, Observations], hidden: Mapping[str, Observations]
    ) -> dict[str, HeldOut]:
        """Predict hidden observations from those seen: joint log density over bands, and errors.

        Args:
            seen: What q sees, by sensor name.
            hidden: What is to be predicted, on any days; not seen by q. Only dates with anything
                valid are computed and returned.
        """
        self.check(hidden)
        dated = {name: series.at(series.observed.any(0)) for name, series in hidden.items()}
        days, places = merge_calendars({name: series.days for name, series in dated.items()})
        mean, var = self.infer(seen, days)
        return {
            name: score_hidden(
                self.sensor(name), series, mean[:, places[name]], var[:, places[name]]
            )
            for name, series in dated.items()
        }

    def check(self, observations: Mapping[str, AnyObservations]) -> int:
        """Refuse what does not fit this model; return the number of pixels N.

        Raises:
            ValueError: If there are no observations, a sensor is unknown, or bands or N disagree.
        """
        if not observations:
            raise ValueError("the model needs observations of at least one sensor, got none.")
        counts = {name: len(series) for name, series in observations.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"all sensors must have the same number of pixels, got {counts}.")
        for name, series in observations.items():
            self.sensor(name).check(series)
        return next(iter(counts.values()))


def initial_sensor(config: SensorConfig, model: ModelConfig, seed: int) -> SensorModel:
    """Make what a model has for one sensor, with random networks of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed ^ zlib.crc32(config.name.encode()))
        return SensorModel(config, model)


def score_hidden(sensor: SensorModel, hidden: Observations, mean: Tensor, var: Tensor) -> HeldOut:
    """Compare hidden observations of a sensor with what marginals of the latents predict.

    Args:
        sensor: The part of the model that decodes them.
        hidden: Of N pixels on T days.
        mean: Of the latents there, shape (N, T, L).
        var: The same shape.
    """
    pixel, date = hidden.observed.nonzero(as_tuple=True)
    valid = hidden.valid[pixel, date]
    seasons = season(hidden.days)[date]
    moments = sensor.moments(mean[pixel, date], var[pixel, date], seasons, full=True)
    residual = sensor.normalise(hidden.values[pixel, date], valid) - moments.location
    # Calibration factors, a * noise + c * signal, act band by band.
    noise, signal = sensor.noise_scale, sensor.signal_scale(var[pixel, date]).sqrt()
    density = predictive_log_density(
        residual,
        valid,
        moments.log_diag + noise.log(),
        sensor.decoder.factor * noise.sqrt().unsqueeze(-1),
        moments.covariance * signal.unsqueeze(-1) * signal.unsqueeze(-2),
        sensor.likelihood.mixture(),
    )
    log_density = density.new_zeros(hidden.valid.shape[:2])
    log_density[pixel, date] = density
    error = density.new_zeros(hidden.valid.shape)
    error[pixel, date] = torch.where(valid, residual, 0.0)
    return HeldOut(hidden.days, hidden.valid, log_density, error)
