"""All that a model has for one sensor: normalisation, encoder, decoder, likelihood, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.observations import Observations, PackedObservations
from terralatent.models.sensor.decoding import decode_moments
from terralatent.models.sensor.likelihoods import Gaussian, StudentT, likelihood, quadratic
from terralatent.models.sensor.networks import Decoder, Encoder, acquisition_context, season
from terralatent.models.sensor.predictive import hadamard_nodes, quantile_table, upper_quantile
from terralatent.models.sensor.widths import LEAST_OPEN, LOCAL_RANGE, OPEN

ROWS = 4096
"""Latent vectors decoded at once: bounds memory, and what passes between layers stays cached."""

BACKSCATTER = "dB"
"""Units of a radar sensor, whose values change with the angle of incidence."""

UPPER = 0.95
"""The upper quantile of a new observation that a prediction carries; the lower is its mirror."""


@dataclass(frozen=True)
class Prediction:
    """Bands of one sensor as a model predicts them, physical units, shape (N, Q, B), float32."""

    mean: Tensor
    """Expected surface, and expected new observation."""

    std_signal: Tensor
    """Standard deviation of the surface: what the latent series leaves open."""

    std: Tensor
    """Standard deviation of a new observation: that of the surface, and noise."""

    q05: Tensor
    """5 % quantile of a new observation."""

    q95: Tensor
    """95 % quantile of a new observation."""


@dataclass(frozen=True)
class Moments:
    """Decoded moments over Gaussian latents, normalised units, M rows."""

    location: Tensor
    """Mean of the location, shape (M, B)."""

    covariance: Tensor
    """Covariance of the location, shape (M, B) (its diagonal) or (M, B, B)."""

    log_diag: Tensor
    """Log of the mean diagonal of the scale matrix, shape (M, B)."""


class Miss(NamedTuple):
    """What observations are off the predicted surface by, normalised units, shape (M, B) each."""

    residual: Tensor
    """Observed minus predicted, 0 where not valid."""

    surface: Tensor
    """Variance of the surface as predicted."""

    log_diag: Tensor
    """Log of the diagonal of the scale matrix."""


class SensorModel(nn.Module):
    """The part of a model that belongs to one sensor and stands beside that of the others.

    Args:
        config: The sensor.
        model: Sizes and choices that all sensors share.
    """

    centre: Tensor
    spread: Tensor
    noise_factor: Tensor
    signal_factor: Tensor
    local_noise: Tensor
    local_signal: Tensor
    local_power: Tensor
    nodes: Tensor

    def __init__(self, config: SensorConfig, model: ModelConfig) -> None:
        super().__init__()
        bands = len(config.bands)
        self.config = config
        self.encoder = Encoder(
            bands,
            model.latents,
            hidden=config.hidden or model.hidden,
            precision_cap=model.precision_cap,
            fills=bool(model.fills_bands),
        )
        self.decoder = Decoder(bands, model.latents, hidden=model.hidden, nuisance=model.nuisance)
        self.season = model.season
        self.likelihood: Gaussian | StudentT = likelihood(model.likelihood)
        self.register_buffer("centre", torch.tensor(config.centre), persistent=False)
        self.register_buffer("spread", torch.tensor(config.spread), persistent=False)
        self.register_buffer("nodes", hadamard_nodes(model.latents), persistent=False)
        # Calibration: predictive variance = noise_factor * noise + signal_factor * signal.
        self.register_buffer("noise_factor", torch.ones(bands))
        self.register_buffer("signal_factor", torch.ones(bands))
        # The same of one place, beside those of training; written only where there are any.
        local = bool(model.local_widths)
        self.register_buffer("local_noise", torch.ones(bands), persistent=local)
        self.register_buffer("local_signal", torch.ones(bands), persistent=local)
        self.register_buffer("local_power", torch.zeros(()), persistent=local)

    def check(self, observations: Observations | PackedObservations) -> None:
        """Refuse observations with another number of bands.

        Raises:
            ValueError: If the number of bands differs.
        """
        count, wanted = observations.band_count, len(self.config.bands)
        if count != wanted:
            raise ValueError(
                f"{self.config.name}: observations have {count} bands, the model wants {wanted}: "
                f"{list(self.config.bands)}."
            )

    def normalise(self, values: Tensor, valid: Tensor) -> Tensor:
        """Return values in normalised units, shape (*, B), 0 where not valid."""
        return (torch.where(valid, values, self.centre) - self.centre) / self.spread

    def encode(
        self, observations: Observations, pixel: Tensor, date: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode the observations at M places of (N, T), see :class:`Encoder`.

        Args:
            observations: Of this sensor.
            pixel: Index along N, shape (M,).
            date: Index along T, shape (M,).

        Returns:
            Precision w and information eta, shape (M, L).
        """
        valid = observations.valid[pixel, date]
        values = self.normalise(observations.values[pixel, date], valid)
        context, distance = self.context(observations)[date], observations.distance[pixel, date]
        return cast(tuple[Tensor, Tensor], self.encoder(values, valid, context, distance))

    def context(self, observations: Observations | PackedObservations) -> Tensor:
        """Describe acquisitions, shape (T, 4), see :func:`acquisition_context`; a model without
        seasons never gets them, nor an optical sensor the angle: of one and the same scene some
        catalogues state it and others do not, and latents must not depend on who delivered it."""
        incidence = observations.incidence
        if self.config.units != BACKSCATTER:
            incidence = torch.full_like(incidence, torch.nan)
        context = acquisition_context(observations.days, incidence)
        if not self.season:
            context[:, :2] = 0.0
        return context

    def log_likelihood(
        self, latent: Tensor, values: Tensor, valid: Tensor, seasons: Tensor, known: Tensor
    ) -> Tensor:
        """Return the log density of M observations given latent vectors, normalised units.

        Args:
            latent: shape (M, L).
            values: Physical units, shape (M, B); not read where not valid.
            valid: shape (M, B), bool.
            seasons: shape (M, 2), see :func:`~terralatent.models.sensor.networks.season`.
            known: Whether the decoder knows the season, shape (M,), bool.

        Returns:
            shape (M,), 0 where no band is valid.
        """
        location, log_diag = self._decode(latent, seasons, known)
        return self.likelihood.log_prob(
            self.normalise(values, valid), valid, location, log_diag, self.decoder.factor
        )

    def agreement(
        self, mean: Tensor, variance: Tensor, values: Tensor, valid: Tensor, seasons: Tensor
    ) -> Tensor:
        """Return by what factor M observations count that the others predict so.

        Args:
            mean: Of the latents without the observation itself, shape (M, L).
            variance: The same shape.
            values: Physical units, shape (M, B); not read where not valid.
            valid: shape (M, B), bool.
            seasons: shape (M, 2), see :func:`~terralatent.models.sensor.networks.season`.

        Returns:
            shape (M,), positive; see
            :meth:`~terralatent.models.sensor.likelihoods.Likelihood.weight`.
        """
        missed = self.miss(mean, variance, values, valid, seasons)
        # The surface's covariance counts with its diagonal: a product, where a solve would be.
        scale = (missed.log_diag.exp() + missed.surface).log()
        distance, _ = quadratic(missed.residual, valid, scale, self.decoder.factor)
        return self.likelihood.weight(distance, valid.sum(-1).to(distance.dtype))

    def miss(
        self, mean: Tensor, variance: Tensor, values: Tensor, valid: Tensor, seasons: Tensor
    ) -> Miss:
        """Compare M observations with the surface that the latents predict.

        Args:
            mean: shape (M, L).
            variance: shape (M, L).
            values: Physical units, shape (M, B); not read where not valid.
            valid: shape (M, B), bool.
            seasons: shape (M, 2).
        """
        location, log_diag = self._decode(mean, seasons)
        surface = functional.linear(variance, self.decoder.linear.square())
        residual = torch.where(valid, self.normalise(values, valid) - location, 0.0)
        return Miss(residual, surface, log_diag)

    def moments(
        self, mean: Tensor, variance: Tensor, seasons: Tensor, *, full: bool = False
    ) -> Moments:
        """Average the decoder over independent Gaussian latents, by deterministic nodes.

        Exact in mean and covariance where the decoder is linear. On the CPU and without gradients
        compiled, see :mod:`~terralatent.models.sensor.decoding`.

        Args:
            mean: shape (M, L).
            variance: shape (M, L).
            seasons: shape (M, 2).
            full: Whether the covariance is wanted between bands.
        """
        if not full and mean.device.type == "cpu" and not torch.is_grad_enabled():
            known = seasons.new_full((len(seasons), 1), float(self.season))
            given = torch.cat([seasons * known, known], dim=-1)
            return Moments(*decode_moments(self.decoder, mean, variance, given, self.nodes))
        centre, _ = self._decode(mean, seasons)
        spread = variance.clamp_min(0.0).sqrt()
        first = torch.zeros_like(centre)
        second = torch.zeros_like(centre)
        if full:
            second = centre.new_zeros(*centre.shape, centre.shape[-1])
        diagonal = torch.zeros_like(centre)
        for node in self.nodes:
            location, log_diag = self._decode(mean + spread * node, seasons)
            away = location - centre
            first += away
            second += away.unsqueeze(-1) * away.unsqueeze(-2) if full else away.square()
            diagonal += log_diag.exp()
        count = len(self.nodes)
        first, second = first / count, second / count
        offset = first.unsqueeze(-1) * first.unsqueeze(-2) if full else first.square()
        return Moments(centre + first, second - offset, (diagonal / count).log())

    @property
    def noise_scale(self) -> Tensor:
        """The factor of the noise's variance of each band, shape (B,)."""
        return self.noise_factor * self.local_noise

    def signal_scale(self, variance: Tensor) -> Tensor:
        """Return the factor of the surface's variance by what is known of the latents.

        Args:
            variance: Of the latents, shape (M, L).

        Returns:
            Shape (M, B), positive.
        """
        local = self.local_signal * self.openness(variance).pow(-self.local_power)
        return self.signal_factor * local.clamp(*LOCAL_RANGE)

    def openness(self, variance: Tensor) -> Tensor:
        """Return the share of the surface's prior variance that is left open, over :data:`OPEN`.

        By the decoder's linear part, which the latents of unit prior variance enter.

        Args:
            variance: Of the latents, shape (M, L).

        Returns:
            Shape (M, B), positive; 1 / OPEN for a band that no latent enters.
        """
        energy = self.decoder.linear.square()
        total = energy.sum(-1)
        left = functional.linear(variance, energy) / total.clamp_min(1e-12)
        return torch.where(total > 0.0, left, 1.0).clamp_min(LEAST_OPEN) / OPEN

    def location(self, latent: Tensor, seasons: Tensor) -> Tensor:
        """Decode latents (M, L) to the location of the bands, (M, B), normalised units.

        Args:
            latent: float32.
            seasons: shape (M, 2), see :func:`~terralatent.models.sensor.networks.season`.
        """
        return self._decode(latent, seasons)[0]

    def _decode(
        self, latent: Tensor, seasons: Tensor, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Decode latents (M, L); a model without seasons never gets them."""
        if not self.season:
            known = torch.zeros(len(latent), dtype=torch.bool, device=latent.device)
        return cast(tuple[Tensor, Tensor], self.decoder(latent, seasons, known))

    @torch.no_grad()
    def predict(self, mean: Tensor, variance: Tensor, days: Tensor) -> Prediction:
        """Predict the bands where the latents are independent Gaussians.

        The quantiles are those of a Gaussian surface plus the likelihood's marginal noise.

        Args:
            mean: shape (N, Q, L), float32.
            variance: shape (N, Q, L), float32.
            days: Days since 1970-01-01, shape (Q,), float64.
        """
        shape = (*mean.shape[:-1], len(self.config.bands))
        seasons = season(days).to(mean.device).expand(*mean.shape[:-1], 2).reshape(-1, 2)
        mean, variance = mean.flatten(0, -2), variance.flatten(0, -2)
        table = quantile_table(self.likelihood.mixture(), UPPER)
        columns: list[list[Tensor]] = [[], [], [], [], []]
        for start in range(0, max(len(mean), 1), ROWS):
            rows = slice(start, start + ROWS)
            moments = self.moments(mean[rows], variance[rows], seasons[rows])
            factor = self.signal_scale(variance[rows])
            parts = self._distribution(moments, factor, table)
            for column, part in zip(columns, parts, strict=True):
                column.append(part)
        return Prediction(*(torch.cat(column).reshape(shape) for column in columns))

    def _distribution(self, moments: Moments, factor: Tensor, table: Tensor) -> tuple[Tensor, ...]:
        signal = factor * moments.covariance.clamp_min(0.0)
        scale = moments.log_diag.exp() + self.decoder.factor.square().sum(-1)
        noise = self.noise_scale * scale
        location = self.centre + self.spread * moments.location
        std = (signal + self.likelihood.variance_ratio() * noise).sqrt()
        reach = self.spread * upper_quantile(table, signal, noise)
        return (
            location,
            self.spread * signal.sqrt(),
            self.spread * std,
            location - reach,
            location + reach,
        )
