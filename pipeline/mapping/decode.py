"""A cube and a model -> bands of one sensor at any dates, as surface and as new observation."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr
from distributed import Client
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.local import memory_bytes
from terralatent.pipeline.cube.masking import MaskingRequest
from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.dates import When, days_since_1970
from terralatent.pipeline.mapping.block import BlockWork
from terralatent.pipeline.mapping.job import Pairing, pair
from terralatent.pipeline.mapping.memory import Budget, Pieces, cut_pieces
from terralatent.pipeline.mapping.results import (
    BlockDone,
    ResultReport,
    fill,
    open_result,
    result_layout,
    time_chunk,
)
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.region import Block, blocks, grid_of
from terralatent.pipeline.store.arrays import INNER_CHUNK, ArrayLayout, coordinate, inner_chunk

__all__ = ["decode", "open_bands"]

ARRAYS = {
    "mean": "expected surface, and expected new observation",
    "std_signal": "standard deviation of the surface",
    "std": "standard deviation of a new observation",
    "q05": "5 % quantile of a new observation",
    "q95": "95 % quantile of a new observation",
}
"""Arrays of the store and what they mean."""


def decode(
    cube: str | Path,
    model: str | Path,
    sensor: str,
    dates: When,
    out: str | Path,
    *,
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: Progress | None = None,
) -> ResultReport:
    """Predict the bands of ``sensor`` at ``dates`` and keep them at ``out``; computes.

    The latents are inferred at the dates from all the sensors that cube and model share, then
    decoded, block by block on Dask workers; no latents store is needed. The same call again
    computes only what is not done.

    Args:
        cube: Path or URL of a cube; it need not hold ``sensor``.
        model: Folder of a model that fits the cube.
        sensor: One of the model's sensors.
        dates: See :func:`terralatent.pipeline.dates.parse_when`; ``acquisitions`` are those of
            ``sensor`` where the cube has it.
        out: Path or URL of the store, see :func:`open_bands`.
        device: Where a worker runs the model: ``auto``, ``cpu``, ``cuda``, ...
        masking: How the sensors are masked; as the model was trained, where it leaves that open.
        at: An earlier snapshot of the cube, see
            :func:`terralatent.pipeline.store.history.find_snapshot`.
        client: A Dask client, its address, or a kind of cluster, see
            :func:`terralatent.pipeline.cluster.client.client_for`; processes on this machine by
            default.
        workers: Worker processes to start; one for each core of this machine by default.
        memory: What a worker may use, such as ``4GB``; it bounds what is in memory at once.
        progress: Told of every block.

    Raises:
        InputError: If the cube, the sensor, the dates or ``out`` cannot be used.
        CheckpointError: If the model cannot be read or does not fit the cube.
    """
    pairing = pair(
        cube, model, dates, acquisitions_of=sensor, device=device, masking=masking, at=at
    )
    known = [each.name for each in pairing.config().sensors]
    if sensor not in known:
        raise InputError(f"Sensor {sensor!r} is not one of the model's: {', '.join(known)}.")
    layout = result_layout(
        pairing,
        "bands",
        _arrays(pairing, sensor),
        {"sensor": sensor},
        {"title": f"{sensor}, predicted", "sensor": sensor},
    )
    _pieces(pairing, sensor, Budget(memory_bytes(memory)))  # too little is told before anything
    run = partial(decode_block, pairing, sensor)
    return fill(
        pairing, out, layout, run,
        title="decode", client=client, workers=workers, memory=memory, progress=progress,
    )  # fmt: skip


def open_bands(store: str | Path, *, snapshot: str | None = None) -> xr.Dataset:
    """Open decoded bands as dask arrays; reads no pixels.

    Returns:
        ``mean``, ``std_signal``, ``std``, ``q05`` and ``q95`` (time, band, y, x), float32, in the
        sensor's physical units, NaN outside every scene. ``std_signal`` is how unsure the surface
        is; ``std`` and the quantiles are those of a new observation. The CRS is known to ``.rio``
        and ``.odc``.

    Raises:
        InputError: If there is no such store.
    """
    return open_result(store, "bands", snapshot=snapshot)


def decode_block(
    pairing: Pairing, sensor: str, budget: Budget, group: zarr.Group, block: Block
) -> BlockDone:
    """Read, infer, decode and write one block; runs on a worker and writes whole chunks.

    Decoded and written one inner chunk after the other.

    Args:
        pairing: What to infer from, and when.
        sensor: One of the model's.
        budget: What the task may take.
        group: Root of the bands store, writable.
        block: Which pixels.
    """
    bands = group["mean"].shape[1]
    pieces = _pieces(pairing, sensor, budget)
    work = BlockWork(pairing, group, block, pieces)
    for rows, series in work.strips():
        places = np.arange(len(series)).reshape(series.shape)
        top = block.y.start + rows.start
        for tile in blocks(series.shape, INNER_CHUNK):
            y = slice(top + tile.y.start, top + tile.y.stop)
            x = slice(block.x.start + tile.x.start, block.x.start + tile.x.stop)
            pixels = places[tile.y, tile.x].ravel()
            for dates in pieces.parts(len(pairing.times)):
                with work.clock.time("infer"):
                    values = _decoded(
                        pairing, sensor, series, pixels, dates, bands, pieces.observations
                    )
                with work.clock.time("write"):
                    for name, one in zip(ARRAYS, values, strict=True):
                        group[name][dates, :, y, x] = one.reshape(*one.shape[:2], *tile.shape)
    return work.done()


def _pieces(pairing: Pairing, sensor: str, budget: Budget) -> Pieces:
    values = len(ARRAYS) * len(pairing.config().sensor(sensor).bands)
    return cut_pieces(pairing, budget, values * np.dtype(np.float32).itemsize, INNER_CHUNK**2)


def _decoded(
    pairing: Pairing,
    sensor: str,
    series: SeriesBlock,
    pixels: NDArray[np.intp],
    dates: slice,
    bands: int,
    most: int,
) -> NDArray[np.float32]:
    """The :data:`ARRAYS` of some pixels and dates, (5, Q, B, n), NaN outside every scene."""
    days = torch.from_numpy(days_since_1970(pairing.dates[dates]))
    values = np.full((len(ARRAYS), len(days), bands, pixels.size), np.nan, dtype=np.float32)
    inside = pixels[series.seen[pixels]]
    for some, mean, var in pairing.infer(series, inside, dates=dates, most=most):
        found = pairing.load().decode(sensor, mean, var, days.to(mean.device))
        at = np.searchsorted(pixels, some)
        for place, name in enumerate(ARRAYS):
            values[place][:, :, at] = getattr(found, name).permute(1, 2, 0).cpu().numpy()
    return values


def _arrays(pairing: Pairing, sensor: str) -> tuple[ArrayLayout, ...]:
    """Lay out the five arrays and their bands. No shards: an inner chunk is written at once."""
    rows, columns = grid_of(pairing.open_cube()[pairing.sensors[0]]).shape
    inner = inner_chunk(pairing.block)
    config = pairing.config().sensor(sensor)
    bands, dates = len(config.bands), len(pairing.times)
    return (
        *(
            ArrayLayout(
                name,
                ("time", "band", "y", "x"),
                (dates, bands, rows, columns),
                "float32",
                chunks=(time_chunk(dates), bands, inner, inner),
                fill_value=np.nan,
                attrs={"long_name": told, "units": config.units, "grid_mapping": "spatial_ref"},
            )
            for name, told in ARRAYS.items()
        ),
        coordinate("band", ("band",), np.array(config.bands)),
    )
