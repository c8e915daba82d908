"""What the learned baselines share: how they read, where they start, what they bound."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from terralatent.models.baselines.learned.attention import TimeEncoding
from terralatent.models.baselines.learned.decoder_start import start_decoders
from terralatent.models.baselines.learned.reading import Reader
from terralatent.models.config import ModelConfig
from terralatent.models.latent_model import LatentModel, Marginals
from terralatent.models.observations import AnyObservations, Observations, merge_calendars, unpacked
from terralatent.models.sensor.model import SensorModel

__all__ = ["LatentsAt", "LearnedBaseline", "gaussian_kl", "pass_on", "silence"]

LOG_VAR_RANGE = (-8.0, 2.0)
"""Bounds of the log variances that networks give."""

FIRST_LOG_VAR = -1.0
"""Where log variances start."""


class LatentsAt(NamedTuple):
    """Marginals of the latents at the query days."""

    mean: Tensor
    """shape (N, Q, L)."""

    var: Tensor
    """shape (N, Q, L), positive."""

    kl: Tensor
    """From the prior, nats, shape (N,)."""


class LearnedBaseline(LatentModel):
    """Another VAE of pixel series: reads all sensors, and says what the latents are at any days.

    Decoders start from components of the bands, and what is read of an observation from what it
    alone says of the latents; all else is random and has to learn more than the GP-VAE has, at a
    rate of its own.

    Args:
        config: Sensors, sizes and choices.
        seed: Of the initial networks.
    """

    rate: ClassVar[float | None] = 3e-3

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__(config, seed=seed)
        for name in self.sensors:
            # The GP-VAE's encoder of single observations: these families read in their own way.
            del self.sensor(name).encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.time = TimeEncoding(config.hidden)
            self.reader = Reader(config, config.hidden)
            self.build(config)

    @abstractmethod
    def build(self, config: ModelConfig) -> None:
        """Make the networks of the family."""

    @abstractmethod
    def latents_at(self, seen: Mapping[str, Observations], days: Tensor) -> LatentsAt:
        """Say what the latents are at ``days``, shape (Q,), float64, any order."""

    def every_sensor(self) -> dict[str, SensorModel]:
        """The sensors by name."""
        return {name: self.sensor(name) for name in self.sensors}

    def start(self, pools: Sequence[Mapping[str, Observations]], *, seed: int = 0) -> None:
        """See :meth:`LatentModel.start`: decoders, and where days are counted from."""
        start_decoders(self, pools)
        self.reader.start(self.every_sensor())
        days = [seen.days for pool in pools for seen in pool.values() if len(seen.days)]
        self.time.set_span(min(float(d[0]) for d in days), max(float(d[-1]) for d in days))

    def marginals(
        self, seen: Mapping[str, Observations], calendars: Mapping[str, Tensor]
    ) -> Marginals:
        """See :meth:`LatentModel.marginals`."""
        self.check(seen)
        given = {name: series.days for name, series in seen.items()}
        days, places = merge_calendars({**calendars, **given})
        return Marginals(*self.latents_at(seen, days), places)

    @torch.no_grad()
    def infer(
        self, observations: Mapping[str, AnyObservations], query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`LatentModel.infer`."""
        series = unpacked(observations, self.device)
        self.check(series)
        mean, var, _ = self.latents_at(series, query_days)
        return mean, var


def pass_on(head: nn.Linear) -> None:
    """Let a layer that says means and log variances of L latents start as its first L inputs.

    Those are what was read of the latents, see :meth:`Reader.start`.
    """
    silence(head)
    with torch.no_grad():
        latents = len(head.bias) // 2
        count = min(latents, head.weight.shape[1])
        head.weight[:count, :count] = torch.eye(count)
        head.bias[latents:] = FIRST_LOG_VAR


def silence(layer: nn.Linear) -> None:
    """Let a layer start at zero: what lies beside it counts alone until it has learned."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """Return the divergence of N(mean, exp(log_var)) from N(0, 1), elementwise, nats."""
    return 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var)
