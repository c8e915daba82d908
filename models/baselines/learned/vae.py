r"""A VAE with an independent standard normal prior for each day: no series, only single dates.

.. math:: z(t) \sim N(0, I), \quad
    q(z(t)) = N\Big(\frac{\sum_s \eta_s}{1 + \sum_s w_s},\, \frac{1}{1 + \sum_s w_s}\Big)

The encoders and decoders are those of the GP-VAE: what it has beside them is the prior over time.
Sensors that saw the same day of the calendar meet in the sum of their precisions; a day that
nobody saw is the prior, and its bands what the decoder makes of the time of year.

References:
    | Auto-encoding variational Bayes (Kingma & Welling, 2014)
    | Multimodal generative models for scalable weakly-supervised learning (Wu & Goodman, 2018)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from terralatent.models.baselines.learned.decoder_start import posterior_of_one, start_decoders
from terralatent.models.baselines.learned.model import LatentsAt, gaussian_kl
from terralatent.models.latent_model import LatentModel, Marginals
from terralatent.models.observations import AnyObservations, Observations, merge_calendars, unpacked

__all__ = ["VAE"]


class VAE(LatentModel):
    """Each day for itself; see the module."""

    rate: ClassVar[float | None] = 1e-3

    def start(self, pools: Sequence[Mapping[str, Observations]], *, seed: int = 0) -> None:
        """See :meth:`LatentModel.start`: components of the bands, for encoders and decoders."""
        start_decoders(self, pools)
        for name in self.sensors:
            sensor = self.sensor(name)
            project, shift, var = posterior_of_one(sensor)
            # The posterior mean is w / (1 + w) of what the encoder says, and its variance 1 - that.
            kept = (1.0 - var).clamp(1e-4, 0.98)
            encoder = sensor.encoder
            odds = (kept / (1.0 - kept) / encoder.precision_cap).clamp(1e-4, 0.95)
            encoder.set_linear(
                project / kept[:, None], torch.logit(odds), encoder.share, shift / kept
            )

    def marginals(
        self, seen: Mapping[str, Observations], calendars: Mapping[str, Tensor]
    ) -> Marginals:
        """See :meth:`LatentModel.marginals`."""
        given = {name: series.days for name, series in seen.items()}
        days, places = merge_calendars({**calendars, **given})
        return Marginals(*self._latents_at(seen, days), places)

    @torch.no_grad()
    def infer(
        self, observations: Mapping[str, AnyObservations], query_days: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`LatentModel.infer`."""
        series = unpacked(observations, self.device)
        mean, var, _ = self._latents_at(series, query_days)
        return mean, var

    def _latents_at(self, seen: Mapping[str, Observations], days: Tensor) -> LatentsAt:
        pixels, latents = self.check(seen), self.config.latents
        there = [series.days.floor() for series in seen.values()]
        known, place = torch.cat([*there, days.floor()]).unique(return_inverse=True)
        rows, precisions, informations = [], [], []
        for name in sorted(seen):
            series = seen[name]
            pixel, date = series.observed.nonzero(as_tuple=True)
            w, eta = self.sensor(name).encode(series, pixel, date)
            own = torch.searchsorted(known, series.days.floor())
            rows.append(pixel * len(known) + own[date])
            precisions.append(w)
            informations.append(eta)
        blank = precisions[0].new_zeros(pixels * len(known), latents)
        row = torch.cat(rows)
        shape = (pixels, len(known), latents)
        w = blank.index_add(0, row, torch.cat(precisions)).reshape(shape)
        eta = blank.index_add(0, row, torch.cat(informations)).reshape(shape)
        mean, var = eta / (1.0 + w), 1.0 / (1.0 + w)
        kl = gaussian_kl(mean, var.log()).sum((-1, -2))
        place = place[len(place) - len(days) :]
        return LatentsAt(mean[:, place], var[:, place], kl)
