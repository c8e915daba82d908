"""Latents in a Dataset -> bands of a sensor, lazily: pixel by pixel, at the dates they have."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import latents_hash, model_hash
from terralatent.models.shipped import model_folder
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.decode import ARRAYS
from terralatent.pipeline.mapping.inference import config_of, loaded_once
from terralatent.pipeline.mapping.opened import result_dataset

__all__ = ["decode_latents"]

PIXELS = 4096
"""That are decoded at once."""


def decode_latents(model: str, latents: xr.Dataset, sensor: str) -> xr.Dataset:
    """Predict the bands of a sensor from latents. Lazy: reads and computes nothing.

    Args:
        model: What names it, see :func:`terralatent.models.shipped.reference_of`.
        latents: ``mean`` and ``std`` (time, latent, y, x).
        sensor: One of the model's.

    Returns:
        What :func:`~terralatent.pipeline.mapping.opened.open_bands` gives.

    Raises:
        InputError: If the latents are another model's or lack some, or the model knows no such
            sensor, or has intervals of a place, which standard deviations of latents are not enough
            for.
    """
    folder, config = model_folder(model), config_of(model)
    known = [own.name for own in config.sensors]
    if sensor not in known:
        raise InputError(f"Sensor {sensor!r} is not one of the model's: {', '.join(known)}.")
    made_by = latents.attrs.get("latents_hash")
    if made_by is not None and made_by != latents_hash(folder):
        raise InputError(
            f"The latents are of another model ({made_by[:12]}…) than {model}; decode them with "
            "the one that made them."
        )
    if latents.sizes["latent"] != config.latents:
        raise InputError(
            f"The Dataset has {latents.sizes['latent']} latents; decoding takes all "
            f"{config.latents}."
        )
    if config.local_widths:
        raise InputError(
            f"{model} is calibrated to a place, where bands have widths that latents do not hold; "
            "decode the cube itself."
        )
    own = config.sensor(sensor)
    dims = ("time", "latent", "y", "x")
    mean, std = (latents[name].transpose(*dims).chunk().data for name in ("mean", "std"))
    mean, std = (values.rechunk({1: -1}) for values in (mean, std))
    days = da.from_array(days_since_1970(latents["time"].values), chunks=mean.chunks[0])
    decoded = da.map_blocks(
        _decoded, mean, std, days[:, None, None, None],
        model=model, model_hash=model_hash(folder), sensor=sensor,
        dtype=np.float32, new_axis=0,
        chunks=((len(ARRAYS),), mean.chunks[0], (len(own.bands),), *mean.chunks[2:]),
        meta=np.empty((0,) * 5, np.float32),
    )  # fmt: skip
    bands = ("time", "band", "y", "x")
    variables: dict[str, Any] = {
        name: (bands, decoded[place], {"long_name": meaning, "units": own.units})
        for place, (name, meaning) in enumerate(ARRAYS.items())
    }
    if "days_to_observation" in latents:
        variables["days_to_observation"] = latents["days_to_observation"].variable
    lost = ("latent", "sensor")
    coords: dict[str, Any] = {
        str(name): coord for name, coord in latents.coords.items() if name not in lost
    }
    coords["band"] = list(own.bands)
    return result_dataset(variables, coords, {**latents.attrs, "sensor": sensor})


def _decoded(
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    days: NDArray[np.float64],
    *,
    model: str,
    model_hash: str,
    sensor: str,
) -> NDArray[np.float32]:
    """The five arrays of a block, (5, T, B, y, x); NaN where latents are."""
    dates, latents, *shape = mean.shape
    decoder = loaded_once(model, model_hash)
    query = torch.from_numpy(np.ascontiguousarray(days[:, 0, 0, 0])).to(decoder.device)
    flat = [np.moveaxis(values.reshape(dates, latents, -1), -1, 0) for values in (mean, std)]
    bands = len(decoder.config.sensor(sensor).bands)
    result = np.full((len(ARRAYS), dates, bands, flat[0].shape[0]), np.nan, np.float32)
    inside = np.flatnonzero(np.isfinite(flat[0]).all(axis=(1, 2)))
    for first in range(0, len(inside), PIXELS):
        some = inside[first : first + PIXELS]
        means, stds = (
            torch.from_numpy(np.ascontiguousarray(values[some])).to(decoder.device)
            for values in flat
        )
        with torch.inference_mode():
            found = decoder.decode(sensor, means, stds.square(), query)
        for place, name in enumerate(ARRAYS):
            result[place][:, :, some] = getattr(found, name).permute(1, 2, 0).cpu().numpy()
    return result.reshape(len(ARRAYS), dates, bands, *shape)
