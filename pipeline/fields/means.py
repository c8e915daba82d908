r"""Means of fields at any dates, with a standard deviation that knows what pixels share.

A field's mean has a lower standard deviation than a pixel, but not by the root of their number: an
acquisition is off over the whole scene, and where nothing was seen the field went its way as one.

Posterior means are locally linear in the observations, so what shared errors do to a field's mean
is found by perturbation: errors of acquisitions are drawn from their covariance, the same for all
pixels, added to the observations, and the field is inferred and decoded again. The mean square of
its shift over the draws is the shared variance. What is left of the pixels' own variance is taken
to have the same correlation rho between any two of n pixels (Kish's design effect):

.. math:: \sigma^2 = \sigma^2_{shared} + (\rho + (1 - \rho) / n)\,
    \overline{(\sigma^2_p - \sigma^2_{shared, p})_+}

Covariance and correlation are estimated in :mod:`terralatent.pipeline.fields.shared_errors`.

References:
    | Gaussian sampling by local perturbations (Papandreou & Yuille, 2010)
    | Survey Sampling (Kish, 1965), of the effective number of things that are alike
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.masking import MaskingRequest
from terralatent.pipeline.cube.reading import Reading
from terralatent.pipeline.dates import When, days_since_1970
from terralatent.pipeline.device import on_gpu, warn_of_gpu
from terralatent.pipeline.fields.perturbation import perturb
from terralatent.pipeline.fields.pixels import read_where
from terralatent.pipeline.fields.shared_errors import SharedErrors, estimate_shared_errors
from terralatent.pipeline.labels import FieldLabels, Fields, lay_fields
from terralatent.pipeline.mapping.job import MappingJob, plan_job
from terralatent.pipeline.mapping.results import OUTLIERS

__all__ = ["field_means"]

Array = NDArray[np.float64]


def field_means(
    cube: str | Path,
    model: str | Path | None,
    sensor: str,
    dates: When,
    fields: Fields,
    *,
    errors: SharedErrors | None = None,
    draws: int = 32,
    most_pixels: int = 64,
    seed: int = 0,
    device: str = "auto",
    masking: MaskingRequest = None,
) -> xr.Dataset:
    """Predict the mean of ``sensor``'s bands over each field at ``dates``. Computes in memory.

    Block by block, in this process; the result knows no blocks. It takes ``draws`` times fields
    times dates times bands floats, and the standard deviation is within 1 / sqrt(2 ``draws``).

    Args:
        cube: Path or URL of a cube; it need not hold ``sensor``.
        model: Folder of a model that fits the cube, or the name of one that comes with the package,
            whose default it is if None.
        sensor: One of the model's sensors.
        dates: See :func:`terralatent.pipeline.dates.parse_when`.
        fields: A file of polygons such as GeoJSON, a geopandas frame of them in any CRS, or an
            integer array of labels on the cube's grid (y, x), 0 where there is no field.
        errors: What pixels of a field share; estimated from the cube by default.
        draws: Sets of errors that are drawn.
        most_pixels: Pixels of a field whose shifts are computed, evenly spread over it.
        seed: Of the draws.
        device: Where the model runs.
        masking: How the sensors are masked; as the model was trained, where it leaves that open.

    Returns:
        ``mean`` and ``std`` (field, time, band), of the surface's mean over the field, in the
        sensor's units; beside them ``std_shared``, the part of ``std`` that errors of acquisitions
        make, ``std_pixel``, the root mean square of ``std_signal`` over its pixels, and ``pixels
        (field)``, those inside the scenes. NaN where a field has none. ``field`` is the frame's
        index or the label; ``attrs["correlation"]`` is rho, ``attrs["outliers"]`` holds for each
        sensor that was searched for them how many observations of the fields were masked, of how
        many.

    Raises:
        InputError: If the cube, the dates or the sensor cannot be used, no field lies on the grid,
            or a count is below 1.
        CheckpointError: If the model cannot be read or does not fit the cube.
    """
    reading = Reading(masking)
    job = plan_job(cube, model, dates, reading, acquisitions_of=sensor, device=device)
    job.require_sensor(sensor)
    if on_gpu(device):
        warn_of_gpu()
    if draws < 1 or most_pixels < 1:
        raise InputError(f"draws is {draws}, most_pixels {most_pixels}; both must be at least 1.")
    labels = lay_fields(fields, job.grid)
    sums = _sum_pixels(job, sensor, labels)
    if not sums.inside.any():
        raise InputError(f"None of the {len(labels)} fields has a pixel inside a scene of {cube}.")
    if errors is None:
        errors = estimate_shared_errors(job, labels, sums.inside)
    chosen = labels.some(most_pixels, sums.inside)
    shared, rest = perturb(job, sensor, labels, chosen, errors, draws, seed)

    count = sums.count[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0: fields without pixels are NaN
        mean, pixel = sums.mean / count, sums.variance / count
        alone = (errors.correlation + (1.0 - errors.correlation) / count) * rest
    arrays = {
        "mean": mean,
        "std": np.sqrt(shared + alone),
        "std_shared": np.sqrt(shared),
        "std_pixel": np.sqrt(pixel),
    }
    config = job.config().sensor(sensor)
    return xr.Dataset(
        {
            **{name: (("field", "time", "band"), values) for name, values in arrays.items()},
            "pixels": ("field", sums.count),
        },
        coords={
            "field": labels.names,
            "time": job.dates,
            "band": np.array(config.bands, dtype=object),
        },
        attrs={
            **job.attributes(),
            "sensor": sensor,
            "units": config.units,
            "correlation": errors.correlation,
            **({OUTLIERS: sums.outliers} if sums.outliers else {}),
        },
    )


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over the pixels of each field."""

    mean: Array
    """Of the expected surface, (field, time, band)."""
    variance: Array
    """Of ``std_signal`` squared, (field, time, band)."""
    count: NDArray[np.int64]
    """Pixels inside the scenes, (field,)."""
    inside: NDArray[np.bool_]
    """Whether a pixel is of some field and inside some scene, (y, x)."""
    outliers: dict[str, list[int]]
    """By sensor, observations that were taken as outliers, and of how many."""


def _sum_pixels(job: MappingJob, sensor: str, labels: FieldLabels) -> _Sums:
    """Decode every pixel of the fields and add them up."""
    shape = (len(labels), len(job.times), len(job.config().sensor(sensor).bands))
    sums = _Sums(
        np.zeros(shape), np.zeros(shape), np.zeros(len(labels), np.int64),
        np.zeros(labels.numbers.shape, dtype=bool), {},
    )  # fmt: skip
    model, days = job.load(), torch.from_numpy(days_since_1970(job.dates))
    for block, series, places in read_where(job, labels.numbers >= 0):
        places = places[series.seen[places]]
        number = labels.numbers[block.y, block.x].ravel()
        window = sums.inside[block.y, block.x]
        window[np.unravel_index(places, window.shape)] = True
        for name, more in series.outliers(places).items():
            sums.outliers[name] = np.add(sums.outliers.get(name, 0), more).tolist()
        for some, mean, var in job.infer(series, places):
            bands = model.decode(sensor, mean, var, days.to(mean.device))
            np.add.at(sums.mean, number[some], bands.mean.cpu().double().numpy())
            signal = bands.std_signal.cpu().double().square().numpy()
            np.add.at(sums.variance, number[some], signal)
            np.add.at(sums.count, number[some], 1)
    return sums
