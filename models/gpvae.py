"""The GP-VAE: sensors are encoded alone, fused as information, and smoothed by a GP over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.kernels import make_kernel
from terralatent.models.latent_model import Elbo, HeldOut, LatentModel, Marginals, initial_sensor
from terralatent.models.observations import (
    AnyObservations,
    Observations,
    PackedObservations,
    Sites,
    merge_calendars,
    unpacked,
)
from terralatent.models.posteriors import Posterior, make_posterior
from terralatent.models.refinement import refine
from terralatent.models.sensor.encoding import encode_packed, is_compiled
from terralatent.models.sensor.model import Prediction

__all__ = ["GPVAE", "Elbo", "HeldOut", "ModelConfig", "Prediction", "SensorConfig", "Sites"]


class GPVAE(LatentModel):
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

    linear_start: ClassVar[bool] = True
    takes_sensors: ClassVar[bool] = True
    encoder_dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")
    has_scene_errors: ClassVar[bool] = True
    has_joint: ClassVar[bool] = True
    own_choices: ClassVar[tuple[str, ...]] = (
        "kernel",
        "posterior",
        "posterior_size",
        "start",
        "refinements",
        "scene_errors",
    )

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        self.inference = make_posterior(config.posterior, config.posterior_size)
        self.kernel = make_kernel(config.kernel, config.latents)
        self.encoder_dtype = torch.float32

    def add_sensor(self, config: SensorConfig, *, seed: int = 0) -> None:
        """Add encoder, decoder and likelihood of one more sensor, and freeze all that was there.

        Nothing of before takes a gradient from now on, the kernel included, so whatever the new
        sensor learns, latents inferred without it stay bit-equal. Where others of a batch have it,
        its days join the calendar: series without it then keep their latents to rounding, if the
        posterior is ``calendar_free``. Start it from series that have
        old and new sensors with :func:`~terralatent.models.start.linear.start_sensor`. Sensors may
        be added one after the other, in any order; each then stands for itself.

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
        added = initial_sensor(config, self.config, seed).train(self.training)
        known = {**self.sensors, config.name: added.to(next(self.parameters()).device)}
        # As if they had all been there from the start: in the order of their names.
        self.sensors = nn.ModuleDict(dict(sorted(known.items())))
        self.encode_in(self.encoder_dtype)

    def encode_in(self, dtype: torch.dtype) -> None:
        """See :meth:`LatentModel.encode_in`.

        A model is made in float32, which is compiled on a CPU, and faster there; bfloat16 is for
        GPUs.
        """
        super().encode_in(dtype)
        self.encoder_dtype = dtype
        for name in self.sensors:
            self.sensor(name).encoder.network_dtype = dtype

    def encode(
        self,
        observations: Mapping[str, AnyObservations],
        calendars: Mapping[str, Tensor] | None = None,
    ) -> Sites:
        """Encode every observation alone, and lay all on the union of the sensors' days.

        Packed ones are encoded in one pass, without gradients and equal but for rounding.

        Args:
            observations: By sensor name, one or more, all of the same N pixels.
            calendars: Days of further sensors that have no observations here, shape (T_s,).

        Raises:
            ValueError: If there are no observations, a sensor is unknown, or bands or N disagree.
        """
        pixels = self.check(observations)
        calendar = {name: series.days for name, series in observations.items()}
        days, places = merge_calendars({**(calendars or {}), **calendar})
        shape = (pixels, len(days), self.config.latents)
        if packed := self._packed(observations):
            w, eta = torch.zeros(shape), torch.zeros(shape)
            for name, own in packed.items():
                encode_packed(self.sensor(name), own, places[name], w, eta)
            return Sites(days, w, eta, places)
        rows, precisions, informations = [], [], []
        for name, series in sorted(unpacked(observations, self.device).items()):
            pixel, date = series.observed.nonzero(as_tuple=True)
            w, eta = self.sensor(name).encode(series, pixel, date)
            rows.append(pixel * len(days) + places[name][date])
            precisions.append(w)
            informations.append(eta)
        row = torch.cat(rows)
        w, eta = torch.cat(precisions), torch.cat(informations)
        blank = w.new_zeros(pixels * len(days), self.config.latents)
        return Sites(
            days=days,
            w=blank.index_copy(0, row, w).reshape(shape),
            eta=blank.index_copy(0, row, eta).reshape(shape),
            places=places,
        )

    def sites(
        self,
        observations: Mapping[str, AnyObservations],
        calendars: Mapping[str, Tensor] | None = None,
    ) -> Sites:
        """Encode as :meth:`encode` does, then refine, see :mod:`~terralatent.models.refinement`.

        Args:
            observations: As for :meth:`encode`.
            calendars: As for :meth:`encode`.

        Raises:
            ValueError: As :meth:`encode`.
        """
        if not self.config.refinements:
            return self.encode(observations, calendars)
        series = unpacked(observations, self.device)
        return refine(
            self.encode(series, calendars),
            self.inference,
            self.kernel,
            series,
            {name: self.sensor(name) for name in observations},
            self.config.refinements,
        )

    def posterior(
        self, observations: Mapping[str, AnyObservations], query_days: Tensor | None = None
    ) -> Posterior:
        """Return q(z) on all days of the sensors, and on ``query_days`` if given.

        Args:
            observations: By sensor name, all of the same N pixels.
            query_days: Days since 1970-01-01, any order, shape (Q,), float64.
        """
        sites = self.sites(observations)
        return self.inference.infer(self.kernel, sites.days, sites.w, sites.eta, query_days)

    def moves_means(self, name: str) -> bool:
        """See :meth:`LatentModel.moves_means`: decoders do where they judge observations."""
        last = name.rpartition(".")[2]
        if ".decoder." in name or ".likelihood." in name:
            return self.config.refinements > 0 or self.config.scene_errors
        return super().moves_means(name) or (self.config.scene_errors and last == "signal_factor")

    def timescales(self) -> dict[str, Tensor]:
        """See :meth:`LatentModel.timescales`: the kernel's, infinite for constants."""
        return dict(self.kernel.timescales())

    def marginals(
        self, seen: Mapping[str, Observations], calendars: Mapping[str, Tensor]
    ) -> Marginals:
        """See :meth:`LatentModel.marginals`."""
        sites = self.sites(seen, calendars)
        q = self.inference.infer(self.kernel, sites.days, sites.w, sites.eta)
        return Marginals(q.mean, q.var, q.kl, sites.places)

    @torch.no_grad()
    def infer(
        self, observations: Mapping[str, AnyObservations], query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`LatentModel.infer`."""
        sites = self.sites(observations)
        return self.inference.marginals(self.kernel, sites.days, sites.w, sites.eta, query_days)

    @torch.no_grad()
    def joint(
        self, observations: Mapping[str, AnyObservations], query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return mean (N, Q, L) and covariance (N, L, Q, Q) of the latents over a few days.

        Latents are independent given their sites, so all of the joint posterior is in it. See
        :meth:`terralatent.models.posteriors.contract.Inference.joint`; it costs as much as Q + 1
        times :meth:`infer`, and its diagonal is the variance there. Float32.

        Args:
            observations: By sensor name, all of the same N pixels.
            query_days: Days since 1970-01-01, any order, shape (Q,), float64.
        """
        sites = self.sites(observations)
        return self.inference.joint(self.kernel, sites.days, sites.w, sites.eta, query_days)

    @property
    def has_static(self) -> bool:
        """Whether a part of each latent never changes: the kernel has a constant term."""
        return bool(self._constant_parts())

    @torch.no_grad()
    def static(self, observations: Mapping[str, AnyObservations]) -> tuple[Tensor, Tensor] | None:
        """Return mean and variance of what never changes of each latent, shape (N, L), float32.

        That is the constant term of the kernel, and None where it has none. What a latent has
        beside it is a process of its own.

        Args:
            observations: By sensor name, all of the same N pixels.
        """
        constant = self._constant_parts()
        if not constant:
            return None
        sites = self.sites(observations)
        anywhen = sites.days[:1] if len(sites.days) else sites.days.new_zeros(1)
        mean, var = self.inference.components(self.kernel, sites.days, sites.w, sites.eta, anywhen)
        return mean[:, 0, :, constant[0]], var[:, 0, :, constant[0]]

    def _packed(
        self, observations: Mapping[str, AnyObservations]
    ) -> dict[str, PackedObservations] | None:
        """The observations, if all of them are packed and can be encoded so."""
        packed = {
            name: own
            for name, own in observations.items()
            if isinstance(own, PackedObservations) and is_compiled(self.sensor(name))
        }
        return packed if len(packed) == len(observations) else None

    def _constant_parts(self) -> list[int]:
        """Places of the kernel's terms that are constant."""
        scales = self.kernel.timescales().values()
        return [place for place, days in enumerate(scales) if bool(days.isinf().all())]
