"""The GP-VAE: sensors are encoded alone, fused as information, and smoothed by a GP over time."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.held_out import HeldOut, score_hidden
from terralatent.models.kernels import make_kernel
from terralatent.models.networks import season
from terralatent.models.observations import Observations
from terralatent.models.posteriors import Posterior, make_posterior
from terralatent.models.sensor_model import Prediction, SensorModel
from terralatent.models.sites import Sites, merge_calendars

__all__ = ["GPVAE", "Elbo", "HeldOut", "ModelConfig", "Prediction", "SensorConfig", "Sites"]

SEASON_KEPT = 0.5
"""Share of the series whose decoders are told the time of year in training."""


class Elbo(NamedTuple):
    """The bound on the log evidence of each series, in nats, shape (N,); normalised units."""

    elbo: Tensor
    loglik: Tensor
    kl: Tensor


class GPVAE(nn.Module):
    r"""A variational autoencoder of pixel series whose latents are Gaussian processes in time.

    .. math:: z_l \sim GP(0, k_l), \quad x_{s,t} \sim p_s(x \,|\, z(t)), \quad
        q(z) \propto p(z) \prod_{s,t} N(\tilde y_{s,t} \,|\, z(t), 1 / w_{s,t})

    Every sensor has its own days, bands and networks; they meet only in the sum of their
    precisions. Sensors may be absent, and absent is the same as fully masked.

    Args:
        config: Sensors, sizes and choices.
        seed: Of the initial networks; each sensor's depend on the seed and its own name only.

    Raises:
        ValueError: If the kernel or the posterior is unknown.
    """

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.inference = make_posterior(config.posterior, config.posterior_size)
        self.kernel = make_kernel(config.kernel, config.latents)
        self.encoder_dtype = torch.float32
        self.sensors = nn.ModuleDict()
        for sensor in sorted(config.sensors, key=lambda sensor: sensor.name):
            self.sensors[sensor.name] = _initial(sensor, config, seed)

    def add_sensor(self, config: SensorConfig, *, seed: int = 0) -> None:
        """Add encoder, decoder and likelihood of one more sensor, and freeze all that was there.

        Nothing of before takes a gradient from now on, the kernel included, so whatever the new
        sensor learns, latents inferred without it stay bit-equal. Where others of a batch have it,
        its days join the calendar: series without it then keep their latents to rounding, if the
        posterior is ``calendar_free``. Start it from series that have
        old and new sensors with :func:`~terralatent.models.start.start_sensor`. Sensors may be
        added one after the other, in any order; each then stands for itself.

        Args:
            config: The new sensor; its bands, units and normalisation.
            seed: Of its initial networks, which depend on the seed and its name only.

        Raises:
            ValueError: If the model has a sensor of that name.
        """
        if config.name in self.sensors:
            there = self.config.sensor(config.name)
            raise ValueError(
                f"{config.name}: the model has this sensor already, with the bands "
                f"{list(there.bands)}; a sensor that is added must have another name than "
                f"{sorted(self.sensors)}. To give it other bands, train a new model."
            )
        sensors = sorted((*self.config.sensors, config), key=lambda sensor: sensor.name)
        self.requires_grad_(False)
        self.config = self.config.model_copy(update={"sensors": tuple(sensors)})
        added = _initial(config, self.config, seed).train(self.training)
        known = {**self.sensors, config.name: added.to(next(self.parameters()).device)}
        # As if they had all been there from the start: in the order of their names.
        self.sensors = nn.ModuleDict(dict(sorted(known.items())))
        self.encode_in(self.encoder_dtype)

    def sensor(self, name: str) -> SensorModel:
        """Return encoder, decoder and likelihood of one sensor.

        Raises:
            ValueError: If the model has no such sensor.
        """
        return cast(SensorModel, self.sensors[self.config.sensor(name).name])

    def encode_in(self, dtype: torch.dtype) -> None:
        """Let the encoders' networks compute in ``dtype``; all else stays float32.

        Args:
            dtype: float32, as a model is made, or bfloat16: faster where a device has units for it.

        Raises:
            ValueError: If the dtype is another.
        """
        if dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"encoders compute in float32 or bfloat16, not in {dtype}.")
        self.encoder_dtype = dtype
        for name in self.sensors:
            self.sensor(name).encoder.network_dtype = dtype

    def encode(
        self,
        observations: Mapping[str, Observations],
        calendars: Mapping[str, Tensor] | None = None,
    ) -> Sites:
        """Encode every observation alone, and lay all on the union of the sensors' days.

        Args:
            observations: By sensor name, one or more, all of the same N pixels.
            calendars: Days of further sensors that have no observations here, shape (T_s,).

        Raises:
            ValueError: If there are no observations, a sensor is unknown, or bands or N disagree.
        """
        pixels = self._check(observations)
        calendar = {name: each.days for name, each in observations.items()}
        days, places = merge_calendars({**(calendars or {}), **calendar})
        rows, precisions, informations = [], [], []
        for name in sorted(observations):
            pixel, date = observations[name].observed.nonzero(as_tuple=True)
            w, eta = self.sensor(name).encode(observations[name], pixel, date)
            rows.append(pixel * len(days) + places[name][date])
            precisions.append(w)
            informations.append(eta)
        row = torch.cat(rows)
        shape = (pixels, len(days), self.config.latents)
        w, eta = torch.cat(precisions), torch.cat(informations)
        blank = w.new_zeros(pixels * len(days), self.config.latents)
        return Sites(
            days=days,
            w=blank.index_copy(0, row, w).reshape(shape),
            eta=blank.index_copy(0, row, eta).reshape(shape),
            places=places,
        )

    def posterior(
        self, observations: Mapping[str, Observations], query_days: Tensor | None = None
    ) -> Posterior:
        """Return q(z) on all days of the sensors, and on ``query_days`` if given.

        Args:
            observations: By sensor name, all of the same N pixels.
            query_days: Days since 1970-01-01, any order, shape (Q,), float64.
        """
        sites = self.encode(observations)
        return self.inference.infer(self.kernel, sites.days, sites.w, sites.eta, query_days)

    @torch.no_grad()
    def infer(
        self, observations: Mapping[str, Observations], query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return marginal mean and variance of the latents, each shape (N, Q, L), float32.

        They may be views of memory in another order; ``contiguous`` if you need it.

        Args:
            observations: By sensor name, all of the same N pixels.
            query_days: Days since 1970-01-01, any order, shape (Q,), float64.
        """
        sites = self.encode(observations)
        return self.inference.marginals(self.kernel, sites.days, sites.w, sites.eta, query_days)

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
            generator: Draws the latents, and which series' decoders are told the time of year.

        Raises:
            ValueError: If a sensor has other days in ``seen`` than in ``counted``.
        """
        self._check(counted)
        for name in seen.keys() & counted.keys():
            if not torch.equal(seen[name].days, counted[name].days):
                raise ValueError(
                    f"{name}: what q sees has other days than what is counted; hide observations "
                    "with Observations.hide, which keeps the days."
                )
        sites = self.encode(seen, {name: each.days for name, each in counted.items()})
        posterior = self.inference.infer(self.kernel, sites.days, sites.w, sites.eta)
        pixels, total, latents = sites.w.shape
        mean = posterior.mean.reshape(-1, latents)
        var = posterior.var.reshape(-1, latents)
        device = mean.device
        told = torch.rand(pixels, generator=generator, device=generator.device) < SEASON_KEPT
        told = told.to(device)
        loglik = mean.new_zeros(pixels)
        for name in sorted(counted):
            each, sensor = counted[name], self.sensor(name)
            shape = (pixels, len(each.days), latents)
            noise = torch.randn(shape, generator=generator, device=generator.device).to(device)
            pixel, date = each.observed.nonzero(as_tuple=True)
            row = pixel * total + sites.places[name][date]
            std = var.index_select(0, row).clamp_min(1e-10).sqrt()
            latent = mean.index_select(0, row) + std * noise[pixel, date]
            density = sensor.log_likelihood(
                latent,
                each.values[pixel, date],
                each.valid[pixel, date],
                season(each.days)[date],
                told[pixel],
            )
            laid = mean.new_zeros(pixels * len(each.days))
            laid = laid.index_copy(0, pixel * len(each.days) + date, density)
            loglik = loglik + laid.reshape(pixels, -1).sum(-1)
        return Elbo(loglik - posterior.kl, loglik, posterior.kl)

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
        self._check(hidden)
        asked = {name: each.at(each.observed.any(0)) for name, each in hidden.items()}
        days, places = merge_calendars({name: each.days for name, each in asked.items()})
        mean, var = self.infer(seen, days)
        return {
            name: score_hidden(self.sensor(name), each, mean[:, places[name]], var[:, places[name]])
            for name, each in asked.items()
        }

    def _check(self, observations: Mapping[str, Observations]) -> int:
        """Refuse what does not fit this model; return the number of pixels N."""
        if not observations:
            raise ValueError("the model needs observations of at least one sensor, got none.")
        counts = {name: len(each) for name, each in observations.items()}
        if len(set(counts.values())) != 1:
            raise ValueError(f"all sensors must have the same number of pixels, got {counts}.")
        for name, each in observations.items():
            self.sensor(name).check(each)
        return next(iter(counts.values()))


def _initial(config: SensorConfig, model: ModelConfig, seed: int) -> SensorModel:
    """Make what a model has for one sensor, with random networks of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed ^ zlib.crc32(config.name.encode()))
        return SensorModel(config, model)
