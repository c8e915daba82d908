"""What errors that pixels share do to means of fields: draw them, infer again, see what moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.models.sensor.networks import season
from terralatent.pipeline.cube.series import CPU, SeriesBlock
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.fields.pixels import read_where
from terralatent.pipeline.fields.shared_errors import SharedErrors
from terralatent.pipeline.labels import FieldLabels
from terralatent.pipeline.mapping.job import MappingJob

__all__ = ["perturb"]

Array = NDArray[np.float64]


def perturb(
    job: MappingJob,
    sensor: str,
    labels: FieldLabels,
    chosen: NDArray[np.bool_],
    errors: SharedErrors,
    draws: int,
    seed: int,
) -> tuple[Array, Array]:
    """Draw errors, infer again, and see how far the fields' means move. Computes, block by block.

    Args:
        job: What to infer from, and when.
        sensor: One of the model's.
        labels: The fields.
        chosen: Pixels of theirs that stand for all, (y, x).
        errors: What pixels of a field share.
        draws: Sets of errors.
        seed: Of the draws.

    Returns:
        Variance of the fields' means by shared errors, and the mean over pixels of what is left
        of their own, (field, time, band).
    """
    model, days = job.load(), torch.from_numpy(days_since_1970(job.dates))
    shape = (len(labels), len(job.times), len(job.config().sensor(sensor).bands))
    shifts = np.zeros((draws, *shape))
    rest, count = np.zeros(shape), np.zeros(len(labels))
    for block, series, places in read_where(job, chosen):
        number = labels.numbers[block.y, block.x].ravel()[places]
        signal = np.zeros((len(places), *shape[1:]))
        before = np.zeros(signal.shape)
        for some, mean, var in job.infer(series, places):
            at = np.searchsorted(places, some)
            before[at] = _surface(model, sensor, mean, var, days)
            bands = model.decode(sensor, mean, var, days.to(mean.device))
            signal[at] = bands.std_signal.cpu().double().square().numpy()
        own = np.zeros(signal.shape)
        for draw, shifted in enumerate(_shifted(model, series, errors, draws, seed)):
            if shifted is None:
                break
            for some, mean, var in job.infer(shifted, places):
                at = np.searchsorted(places, some)
                moved = _surface(model, sensor, mean, var, days) - before[at]
                np.add.at(shifts[draw], number[at], moved)
                own[at] += moved**2 / draws
        np.add.at(rest, number, (signal - own).clip(0.0))
        np.add.at(count, number, 1)
    with np.errstate(invalid="ignore"):  # 0 / 0: fields without pixels
        shared = np.square(shifts / count[:, None, None]).mean(0)
        return shared, rest / count[:, None, None]


def _surface(
    model: LatentModel, sensor: str, mean: torch.Tensor, var: torch.Tensor, days: torch.Tensor
) -> Array:
    """The expected surface for differences, (n, Q, B), physical units.

    At the mean of the latents where the family decodes by the sensor's own network: what the
    spread around it adds is of second order, and costs 32 times as much.
    """
    days = days.to(mean.device)
    if type(model).decode is not LatentModel.decode:
        return model.decode(sensor, mean, var, days).mean.cpu().double().numpy()
    own = model.sensor(sensor)
    seasons = season(days).to(mean).expand(*mean.shape[:-1], 2).flatten(0, 1)
    with torch.no_grad():
        location, _ = own.decoder(mean.flatten(0, 1), seasons)
    surface = own.centre + own.spread * location
    return np.asarray(surface.reshape(*mean.shape[:-1], -1).cpu().double().numpy())


@dataclass(frozen=True, eq=False)
class _ShiftedBlock(SeriesBlock):
    """A block whose acquisitions are off by the same for all pixels."""

    shifts: Mapping[str, torch.Tensor]
    """By sensor, physical units, (T, B)."""

    def series(
        self, pixels: NDArray[np.integer] | slice | None = None, device: torch.device = CPU
    ) -> dict[str, Observations]:
        """See :meth:`SeriesBlock.series`."""
        series = super().series(pixels, device)
        for name, shift in self.shifts.items():
            values = series[name].values + shift.to(device)
            series[name] = replace(series[name], values=values)
        return series


def _shifted(
    model: LatentModel, series: SeriesBlock, errors: SharedErrors, draws: int, seed: int
) -> Iterator[SeriesBlock | None]:
    """The block with each draw of errors; one None where no sensor shares any."""
    drawn: dict[str, Any] = {}
    for name, own in series.by_sensor.items():
        noise = errors.draw(name, len(own.days), draws, seed)
        if noise is not None:
            drawn[name] = torch.from_numpy(noise).float() * model.sensor(name).spread.cpu()
    if not drawn:
        yield None
    about = {field.name: getattr(series, field.name) for field in fields_of(SeriesBlock)}
    for draw in range(draws if drawn else 0):
        yield _ShiftedBlock(**about, shifts={name: shifts[draw] for name, shifts in drawn.items()})
