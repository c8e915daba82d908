"""How well observations that a model did not see were predicted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from terralatent.models.observations import Observations
from terralatent.models.sensor.model import SensorModel
from terralatent.models.sensor.networks import season
from terralatent.models.sensor.predictive import predictive_log_density


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
    noise, signal = sensor.noise_factor, sensor.signal_factor.sqrt()
    density = predictive_log_density(
        residual,
        valid,
        moments.log_diag + noise.log(),
        sensor.decoder.factor * noise.sqrt().unsqueeze(-1),
        moments.covariance * signal.unsqueeze(-1) * signal,
        sensor.likelihood.mixture(),
    )
    log_density = density.new_zeros(hidden.valid.shape[:2])
    log_density[pixel, date] = density
    error = density.new_zeros(hidden.valid.shape)
    error[pixel, date] = torch.where(valid, residual, 0.0)
    return HeldOut(hidden.days, hidden.valid, log_density, error)
