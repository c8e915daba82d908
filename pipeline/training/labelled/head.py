"""A linear head on the posterior means of twelve months, which is thrown away in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.pipeline.training.dropout import drop_observations, seeded
from terralatent.pipeline.training.labelled.pixels import LabelledPixels
from terralatent.pipeline.training.labelled.request import Supervision

__all__ = ["Head"]

HEAD = "the head's dates"
"""Under which they join the calendar; no sensor has that name."""

DRAW_KEY, DROPOUT_KEY = 110, 111
"""Keys of the random draws of a step."""

RATE = 1e-2
"""Learning rate of the head, which begins at zero and has these few steps."""


class Head(nn.Module):
    """Cross-entropy of labelled pixels, a batch at each step, as many of each class.

    The encoders see a random part of a pixel's observations here too, so that what they learn of
    classes does not hang on whole series.

    Args:
        pixels: All that have labels.
        request: Weight and steps.
        latents: Of the model.
        seed: Of the draws.
        batch: Pixels in a batch.
        hide: Whether observation dropout is on.
    """

    def __init__(
        self,
        pixels: LabelledPixels,
        request: Supervision,
        *,
        latents: int,
        seed: int,
        batch: int,
        hide: bool,
    ) -> None:
        super().__init__()
        self.pixels = pixels
        self.weight, self.steps = request.weight, request.steps
        self._seed, self._batch, self._hide = seed, batch, hide
        self._days = [months_of(part.observations) for part in pixels.parts]
        self.linear = nn.Linear(len(self._days[0]) * latents, len(pixels.classes))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def loss(
        self,
        model: LatentModel,
        step: int,
        move: Callable[[dict[str, Observations]], dict[str, Observations]],
    ) -> Tensor:
        """Weighted mean cross-entropy of the batch of a step, in nats.

        Args:
            model: Whose posterior means the head reads; gradients are kept.
            step: Decides the batch, with the seed.
            move: Brings observations to the model's device.
        """
        part, rows = self._draw(step)
        own = self.pixels.parts[part]
        chosen = torch.from_numpy(rows)
        seen = {name: series.select(chosen) for name, series in own.observations.items()}
        if self._hide:
            seen = drop_observations(seen, seeded(self._seed, DROPOUT_KEY, step))
        seen = move(seen)
        q = model.marginals(seen, {HEAD: self._days[part].to(model.device)})
        means = q.mean[:, q.places[HEAD]].flatten(1)
        classes = torch.from_numpy(own.classes[rows]).to(means.device)
        return self.weight * nn.functional.cross_entropy(self.linear(means), classes)

    def _draw(self, step: int) -> tuple[int, NDArray[np.intp]]:
        """A source in proportion to its pixels, and pixels of it, as many of each class."""
        generator = np.random.default_rng([self._seed, DRAW_KEY, step])
        counts = np.array([len(part.classes) for part in self.pixels.parts])
        part = int(generator.choice(len(counts), p=counts / counts.sum()))
        classes = self.pixels.parts[part].classes
        there = np.unique(classes)
        wanted = there[(np.arange(self._batch) + generator.integers(len(there))) % len(there)]
        rows = [
            generator.choice(np.flatnonzero(classes == number), (wanted == number).sum())
            for number in there
        ]
        return part, np.concatenate(rows)


def months_of(observations: Mapping[str, Observations]) -> Tensor:
    """The middles of the months of the year with most acquisitions, days since 1970, (12,)."""
    days = np.concatenate([series.days.numpy() for series in observations.values()])
    years = days.astype("datetime64[D]").astype("datetime64[Y]")
    found, counts = np.unique(years, return_counts=True)
    first = found[int(counts.argmax())].astype("datetime64[M]")
    middles = (first + np.arange(12)).astype("datetime64[D]") + 14
    return torch.from_numpy(middles.astype(np.float64))
