"""Changes between two dates of one cube, under the joint posterior of the latents at both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from terralatent.models.differences import (
    latent_differences,
    latents_at_two,
    prior_at_two,
    surfaces_at_two,
)
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import AnyObservations
from terralatent.pipeline.changes.arrays import EXPECTED, KIND, ChangeArrays, Moved
from terralatent.pipeline.changes.index import SurfaceIndex
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.block import BlockWork
from terralatent.pipeline.mapping.inference import InferenceJob
from terralatent.pipeline.mapping.memory import MemoryLimit, MemoryPlan, plan_memory
from terralatent.pipeline.mapping.results.layout import result_layout
from terralatent.pipeline.pixels.batches import infer_batches_by
from terralatent.pipeline.store.arrays import Layout

__all__ = ["DateChanges"]


@dataclass(frozen=True)
class DateChanges:
    """What latents, or an index, moved by between two dates."""

    job: InferenceJob
    """What to infer from; its dates are A and B, ascending."""

    between: tuple[int, int]
    """A and B, microseconds since 1970-01-01 UTC, in the order they were given."""

    index: SurfaceIndex | None = None
    """None for the latents themselves."""

    @property
    def arrays(self) -> ChangeArrays:
        """What is kept."""
        if self.index is not None:
            return ChangeArrays(index=self.index.name, expects=True)
        return ChangeArrays(latents=self.job.config().latents, expects=True)

    def layout(self) -> Layout:
        """Lay out the store, whose one date is B. Reads no pixels."""
        dates = [str(date) for date in np.array(self.between, "datetime64[us]")]
        first, last = (date[:10] for date in dates)
        what, identity = "latents", {"model": self.job.model_hash, "between": dates}
        if self.index is not None:
            what = self.index.name.upper()
            identity |= {"index": self.index.name, "sensor": self.index.sensor}
        made = result_layout(
            self.job,
            KIND,
            self.arrays.layout(self.job.grid, self.job.block, 1),
            identity,
            {"title": f"changes of {what} between {first} and {last}", "between": dates,
             **({} if self.index is None else {"index": self.index.name,
                                               "sensor": self.index.sensor})},
            times=np.array([self.between[1]], "datetime64[us]"),
        )  # fmt: skip
        # Which pixels are marked is a matter of the whole region, so nothing of it is kept.
        return replace(made, follows=())

    def memory_plan(self, limit: MemoryLimit) -> MemoryPlan:
        """The results of a whole block are held until its shards are written."""
        return plan_memory(self.job, limit, self.arrays.bytes, self.job.block**2)

    def compute(self, work: BlockWork) -> None:
        """Read, infer and write one block; runs on a worker and writes whole shards.

        ``changed`` is left to who knows all blocks.
        """
        kept, block = self.arrays, work.block
        found, width = kept.blank(block.shape[0] * block.shape[1]), block.shape[1]
        model = self.job.load()
        assert isinstance(model, GPVAE)
        times = np.array(self.between, "datetime64[us]")
        days = torch.from_numpy(days_since_1970(times)).to(model.device)
        prior = self._prior(model, days)
        for rows, series in work.strips():
            seen = series.observations.max(axis=0) > 0
            with work.clock.time("infer"):
                for pixels, moved in infer_batches_by(
                    model,
                    lambda observations: self._moved(model, observations, days, prior),
                    series,
                    np.flatnonzero(series.seen),
                    len(times),
                    work.plan.observations // 2,  # in float64
                ):
                    # What nobody ever saw is as the prior has it: it moves by 0, for all we know.
                    moved.degrees[~seen[pixels]] = 0
                    work.clipped += kept.put(found, pixels + rows.start * width, moved)
        with work.clock.time("write"):
            kept.write(work.group, 0, block.y, block.x, found)

    def _prior(self, model: GPVAE, days: torch.Tensor) -> NDArray[np.float64]:
        """Variances of the differences before anything is seen: of latents (L,), an index (1,)."""
        covariance = prior_at_two(model, days)
        mean = covariance.new_zeros(1, 2, covariance.shape[1])
        if self.index is None:
            variance: NDArray[np.float64] = (
                latent_differences(mean, covariance).variance[0].numpy(force=True)
            )
            return variance
        std = self._index(model, mean, covariance, days).parts["difference_std"]
        return np.square(std)

    def _moved(
        self,
        model: GPVAE,
        observations: Mapping[str, AnyObservations],
        days: torch.Tensor,
        prior: NDArray[np.float64],
    ) -> Moved:
        mean, covariance = latents_at_two(model, observations, days)
        if not bool(torch.isfinite(mean.sum() + covariance.sum())):
            raise ArithmeticError("the model gave a latent that is not finite")
        if self.index is not None:
            found = self._index(model, mean, covariance, days)
            left = found.parts["difference_std"][:, None] ** 2
            return replace(found, parts={**found.parts, EXPECTED: _expected(prior, left)})
        differences = latent_differences(mean, covariance)
        standardised = differences.standardised().numpy(force=True)
        left = differences.variance.numpy(force=True)
        # What the prior lets no latent do is known not to be: one degree, at a distance of 0.
        degrees = (left > 0).sum(-1).clip(min=1)
        parts = {"standardised": standardised, EXPECTED: _expected(prior, left)}
        return Moved(np.square(standardised).sum(-1), degrees, parts)

    def _index(
        self, model: GPVAE, mean: torch.Tensor, covariance: torch.Tensor, days: torch.Tensor
    ) -> Moved:
        assert self.index is not None
        bands, spread = surfaces_at_two(
            model, self.index.sensor, mean, covariance, days, list(self.index.bands)
        )
        return self.index.moved(bands.numpy(force=True), spread.numpy(force=True))


def _expected(prior: NDArray[np.float64], left: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""The distance of a change of which the truth is drawn from the prior, root mean square.

    .. math:: \sqrt{\sum_l (V^{prior}_l - V_l) / V_l}

    Infinite where nothing could move: that is known.

    Args:
        prior: Variances of differences before anything is seen, (L,).
        left: The same by what is seen, (n, L).
    """
    moves = left > 0
    gained = np.where(moves, prior / np.where(moves, left, 1.0) - 1.0, 0.0).sum(-1).clip(min=0.0)
    return np.where(moves.any(-1), np.sqrt(gained), np.inf)
