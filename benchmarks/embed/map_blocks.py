"""The same model mapped over the cube with `xarray.map_blocks(...).to_zarr(...)`.

As somebody would who knows xarray and Dask well: chunks of whole series, a halo by `map_overlap`
for the distance to masked pixels, the model loaded once for a process and run in batches, integers
packed by `encoding`, whole shards written. The target is plain Zarr, which costs less than commits.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import torch
import xarray as xr
from scipy.ndimage import distance_transform_edt
from zarr.codecs import ZstdCodec

from terralatent.catalogs.sources.clear import ClearRule
from terralatent.models.checkpoint import load_model
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import DISTANCE_CAP, Observations
from terralatent.pipeline import open_cube
from terralatent.pipeline.dates import days_since_1970

__all__ = ["map_cube"]

BATCH = 100_000
"""Pixels times dates that go through the model at once."""

PACKING = {"mean": ("int16", 2.5e-4, -32768), "std": ("uint16", 2e-5, 65535)}
"""Type, step and fill value of what `embed` writes."""


def map_cube(cube: Path, model: Path, dates: np.ndarray, block: int, out: Path) -> None:
    """Embed ``cube`` by xarray alone, on the current Dask client, and write ``out``. Computes.

    Args:
        cube: Path of a cube.
        model: A model's folder.
        dates: Dates of the latents, datetime64[us], (Q,).
        block: Pixels along y and x of a chunk that is mapped and of a shard that is written.
        out: Where plain Zarr is written.
    """
    tree = open_cube(cube)
    names = [name for name, node in tree.children.items() if "data" in node]
    parts, about = {}, {}
    for name in names:
        node = tree[name].to_dataset()
        own = {"time": f"time_{name}", "band": f"band_{name}"}
        for key, values in (("data", node["data"]), ("distance", _distances(node))):
            bare = values.drop_vars(list(values.coords))
            parts[f"{key}_{name}"] = bare.rename({k: v for k, v in own.items() if k in bare.dims})
        about[name] = (days_since_1970(node["time"].values), node["incidence"].values)
    whole = {dim: -1 for part in parts.values() for dim in part.dims if dim not in ("y", "x")}
    series = xr.Dataset(parts).chunk({**whole, "y": block, "x": block})
    latents = xr.map_blocks(
        _embed,
        series,
        kwargs={"model": str(model), "about": about, "days": days_since_1970(dates)},
        template=_template(series, len(dates), load_model(model).config.latents, block),
    )
    latents.to_zarr(
        out, mode="w", zarr_format=3, consolidated=False, encoding=_encoding(block, latents)
    )


def _distances(node: xr.Dataset) -> xr.DataArray:
    """Pixels to the nearest masked one, at most 16, (time, y, x), lazily."""
    if "quality" not in node:
        return xr.full_like(node["data"].isel(band=0, drop=True), DISTANCE_CAP)
    quality = node["quality"]
    halo = int(DISTANCE_CAP)
    distance = da.map_overlap(
        _distance_of, quality.data, depth={0: 0, 1: halo, 2: halo}, boundary="none",
        rule=ClearRule.from_json(quality.attrs["clear_rule"]), nodata=quality.attrs["nodata"],
        dtype=np.float32, meta=np.empty((0, 0, 0), np.float32),
    )  # fmt: skip
    return quality.copy(data=distance)


def _distance_of(quality: np.ndarray, *, rule: ClearRule, nodata: int) -> np.ndarray:
    distance = np.full(quality.shape, DISTANCE_CAP, np.float32)
    for date, masked in enumerate(~rule(quality) & (quality != nodata)):
        if masked.any():
            exact = distance_transform_edt(~masked)
            np.minimum(exact, DISTANCE_CAP, out=distance[date], casting="same_kind")
    return distance


def _template(series: xr.Dataset, dates: int, latents: int, block: int) -> xr.Dataset:
    """What comes out, for xarray to know before anything is computed."""
    shape = (dates, latents, series.sizes["y"], series.sizes["x"])
    blank = da.zeros(shape, dtype=np.float32, chunks=(dates, latents, block, block))
    dims = ("time", "latent", "y", "x")
    return xr.Dataset({name: (dims, blank) for name in PACKING})


def _embed(
    series: xr.Dataset, *, model: str, about: dict[str, Any], days: np.ndarray
) -> xr.Dataset:
    """Infer one chunk."""
    infer, queries = _loaded(model), torch.from_numpy(days)
    seen = {name: _observations(series, name, *dates) for name, dates in about.items()}
    rows, columns = series.sizes["y"], series.sizes["x"]
    size = max(1, BATCH // sum(len(sensor.days) for sensor in seen.values()))
    shape = (len(days), infer.config.latents, rows * columns)
    latents = {name: np.empty(shape, np.float32) for name in PACKING}
    for start in range(0, rows * columns, size):
        some = slice(start, start + size)
        mean, var = infer.infer(
            {name: sensor.select(some) for name, sensor in seen.items()}, queries
        )
        latents["mean"][:, :, some] = mean.permute(1, 2, 0).numpy()
        latents["std"][:, :, some] = var.clamp_min(0.0).sqrt().permute(1, 2, 0).numpy()
    dims = ("time", "latent", "y", "x")
    return xr.Dataset(
        {
            name: (dims, values.reshape(*shape[:2], rows, columns))
            for name, values in latents.items()
        }
    )


def _observations(
    series: xr.Dataset, name: str, days: np.ndarray, incidence: np.ndarray
) -> Observations:
    dims = ("y", "x", f"time_{name}")
    data = series[f"data_{name}"].transpose(*dims, f"band_{name}").values
    distance = series[f"distance_{name}"].transpose(*dims).values
    values = torch.from_numpy(np.ascontiguousarray(data.reshape(-1, *data.shape[2:])))
    return Observations(
        days=torch.from_numpy(days),
        values=values.nan_to_num(0.0),
        valid=values.isfinite(),
        distance=torch.from_numpy(np.ascontiguousarray(distance.reshape(-1, len(days)))),
        incidence=torch.from_numpy(np.asarray(incidence, np.float32)),
    )


@lru_cache(maxsize=1)
def _loaded(model: str) -> LatentModel:
    return load_model(model)


def _encoding(block: int, latents: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Chunks, shards, compression and packing as `embed` has them."""
    lead, inner = (min(16, latents.sizes["time"]), latents.sizes["latent"]), min(64, block)
    return {
        name: {
            "dtype": dtype,
            "scale_factor": step,
            "_FillValue": fill,
            "chunks": (*lead, inner, inner),
            "shards": (*lead, block, block),
            "compressors": [ZstdCodec(level=3)],
        }
        for name, (dtype, step, fill) in PACKING.items()
    }
