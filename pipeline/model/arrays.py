"""Latents of series that are arrays of numpy or torch, for who has no Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import DISTANCE_CAP
from terralatent.pipeline.cube.as_sensor import FILL
from terralatent.pipeline.cube.series import US_PER_DAY, SensorSeries, SeriesBlock
from terralatent.pipeline.cube.units import check_units
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.device import find_device
from terralatent.pipeline.pixels.batches import infer_batches

__all__ = ["ArraySeries", "embed_arrays"]

ArraySeries: TypeAlias = Mapping[str, tuple[Any, Any]]
"""By sensor its times (T,), what pandas takes, and values (N, T, B) of numpy or torch: the model's
bands, in its order, in its units, NaN where not clear."""


def embed_arrays(
    model: LatentModel, series: ArraySeries, dates: Any, *, device: str = "auto"
) -> tuple[Any, Any]:
    """Infer the latents of N pixels at Q dates. Computes.

    Args:
        model: On any device.
        series: Of the same pixels by every sensor.
        dates: What pandas takes as times, UTC.
        device: Where the model runs.

    Returns:
        Mean and standard deviation, (N, Q, L), float32, in prior standard deviations: torch tensors
        on the CPU where any values are torch's, else numpy arrays.

    Raises:
        InputError: If a sensor is unknown to the model, shapes do not fit each other, or values are
            not in its units.
    """
    if not series:
        raise InputError("There are no series; give times and values by sensor.")
    kind, numbers = find_device(device)
    model = model.to(f"{kind}:{numbers[0]}" if isinstance(numbers, list) else kind)
    by_sensor = {name: _laid(model, name, *own) for name, own in series.items()}
    counts = {name: len(own.packed) for name, own in by_sensor.items()}
    if len(set(counts.values())) > 1:
        there = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"Series of one number of pixels are wanted, not {there}.")
    block = SeriesBlock.of((1, next(iter(counts.values()))), by_sensor)
    query = torch.from_numpy(days_since_1970(_times(dates)))
    shape = (len(block), len(query), model.config.latents)
    mean, std = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for rows, some, var in infer_batches(model, block, np.arange(len(block)), query):
        mean[rows], std[rows] = some.cpu().numpy(), model.latent_std(var).cpu().numpy()
    if any(isinstance(values, torch.Tensor) for _, values in series.values()):
        return torch.from_numpy(mean), torch.from_numpy(std)
    return mean, std


def _laid(model: LatentModel, name: str, times: Any, values: Any) -> SensorSeries:
    known = {sensor.name: sensor for sensor in model.config.sensors}
    if name not in known:
        raise InputError(f"The model knows no {name!r}; it knows {', '.join(known)}.")
    own = known[name]
    numbers = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    numbers = np.asarray(numbers, np.float32)
    when = _times(times)
    if numbers.ndim != 3 or numbers.shape[1:] != (len(when), len(own.bands)):
        raise InputError(
            f"{name}: values of shape {numbers.shape} and {len(when)} times; wanted are (pixels, "
            f"{len(when)}, {len(own.bands)}), in the order {', '.join(own.bands)}."
        )
    check_units(numbers, name, own.units, "the arrays")
    order = np.argsort(when, kind="stable")
    numbers, when = numbers[:, order], when[order]
    shape = numbers.shape[:2]
    return SensorSeries(
        bands=own.bands,
        units=own.units,
        days=when.astype(np.int64) / US_PER_DAY,
        incidence=np.full(len(when), np.nan, np.float32),
        packed=np.where(np.isfinite(numbers), numbers, np.float32(FILL)),
        clear=np.ones(shape, dtype=bool),
        distance=np.full(shape, DISTANCE_CAP, np.float32),
        scale_factor=1.0,
        add_offset=0.0,
        fill_value=FILL,
    )


def _times(times: Any) -> NDArray[np.datetime64]:
    """What pandas takes, in UTC, datetime64[us]."""
    try:
        found = pd.to_datetime(np.atleast_1d(np.asarray(times)), utc=True)
    except (TypeError, ValueError) as error:
        raise InputError(f"{times!r} are no times that pandas reads: {error}.") from error
    return np.asarray(found.tz_localize(None).values, "datetime64[us]")
