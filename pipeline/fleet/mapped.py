"""A model over the cubes of tiles: latents, or annual vectors, checked once and then by tile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.models.annual import AnnualMap
from terralatent.models.checkpoint import CheckpointError, load_model, model_hash
from terralatent.models.shipped import DEFAULT, model_folder
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cube.masking import MaskingRequest
from terralatent.pipeline.dates import When, parse_when
from terralatent.pipeline.device import DEVICES, on_gpu
from terralatent.pipeline.embeddings.annual import annual
from terralatent.pipeline.embeddings.packing import PRECISIONS
from terralatent.pipeline.fleet.run import FleetVerb
from terralatent.pipeline.fleet.tiles import Tile
from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.mapping.inference import ENCODERS
from terralatent.pipeline.mapping.memory import PROCESS
from terralatent.pipeline.mapping.results.fill import GPU_THREADS, TASK, model_of
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.store.location import is_url

__all__ = ["annual_verb", "embed_verb", "sized"]

ANY_PERIOD = np.array(["1972-01-01", "2100-12-31"], "datetime64[us]")
"""In which all dates of cubes lie: what means no date there means none anywhere."""


def embed_verb(
    tiles: Sequence[Tile],
    model: str | None,
    *,
    dates: When,
    precision: str,
    encoder: str,
    device: str,
    masking: MaskingRequest,
    overviews: bool,
    memory: str,
) -> FleetVerb:
    """The verb ``embed``; arguments as of :func:`~terralatent.pipeline.mapping.embed.embed`.

    Raises:
        InputError: If something is wrong for every tile: dates, precision, encoder, device.
        CheckpointError: If the model cannot be read.
    """
    model = _one_model(tiles, "latents", model)
    digest = _checked_model(model, encoder, device)
    if precision not in ("packed", "float32"):
        raise InputError(f"Precision {precision!r} is neither `packed` nor `float32`.")
    if not str(dates).startswith("acquisitions"):
        parse_when(dates, (ANY_PERIOD[0], ANY_PERIOD[1]), ANY_PERIOD)

    def run(tile: Tile, client: Client, progress: Progress) -> Any:
        return embed(
            tile.store("cube").address, model, tile.store("latents").address, dates=dates,
            precision=precision, encoder=encoder, device=device, masking=masking,
            overviews=overviews, client=client, memory=memory, progress=progress,
        )  # fmt: skip

    request = {
        "model": digest,
        "dates": _dated(dates),
        "precision": precision,
        "encoder": encoder,
        "masking": repr(masking),
        "overviews": overviews,
    }
    threads = _threads(tiles, device, memory)
    return FleetVerb("embed", "latents", request, run, ("cube",), threads)


def annual_verb(
    tiles: Sequence[Tile],
    model: str | None,
    *,
    window: str | Sequence[str] | None,
    every: str | None,
    components: int,
    precision: str,
    encoder: str,
    device: str,
    masking: MaskingRequest,
    overviews: bool,
    memory: str,
) -> FleetVerb:
    """The verb ``annual``; arguments as of :func:`~terralatent.pipeline.embeddings.annual.annual`.

    Raises:
        InputError: If something is wrong for every tile: components, precision, encoder, device.
        CheckpointError: If the model cannot be read, or has no map to annual vectors.
    """
    model = _one_model(tiles, "annual", model)
    digest = _checked_model(model, encoder, device)
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise InputError(f"Precision {precision!r} is unknown; give {known}.")
    try:
        AnnualMap.load(model_folder(model)).first(components)
    except CheckpointError:
        raise
    except ValueError as error:
        raise InputError(f"{model}: {error}") from error

    def run(tile: Tile, client: Client, progress: Progress) -> Any:
        return annual(
            tile.store("cube").address, model, tile.store("annual").address, window=window,
            every=every, components=components, precision=precision, encoder=encoder,
            device=device, masking=masking, overviews=overviews, client=client, memory=memory,
            progress=progress,
        )  # fmt: skip

    request = {
        "model": digest,
        "window": window,
        "every": every,
        "components": components,
        "precision": precision,
        "encoder": encoder,
        "masking": repr(masking),
        "overviews": overviews,
    }
    threads = _threads(tiles, device, memory)
    return FleetVerb("annual", "annual", request, run, ("cube",), threads)


def sized(workers: Workers, device: str) -> Workers:
    """The same workers; on a GPU of this machine one, which has all of it."""
    if on_gpu(device) and workers.client in (None, "local"):
        return replace(workers, count=workers.count or 1)
    return workers


def _one_model(tiles: Sequence[Tile], kind: str, model: str | None) -> str:
    """The model of all tiles: the given one, else that of results that are begun, else the default.

    One that was begun with a model of somebody's own wants it named again, as a single result does.
    """
    if model is not None:
        return model
    begun = (tile.store(kind) for tile in tiles)
    first = next((store for store in begun if store.exists()), None)
    return (model_of(first) if first is not None else None) or DEFAULT


def _checked_model(model: str, encoder: str, device: str) -> str:
    if device.partition(":")[0] not in DEVICES:
        raise InputError(f"Device {device!r} is unknown; give {', '.join(DEVICES)} or cuda:N.")
    if encoder not in ENCODERS:
        raise InputError(f"Encoder {encoder!r} is unknown; give {' or '.join(ENCODERS)}.")
    folder = model_folder(model)
    load_model(folder)  # a broken one is refused before anything is begun
    return model_hash(folder)


def _threads(tiles: Sequence[Tile], device: str, memory: str) -> int:
    """Blocks that a worker started here works on: more where a core would wait for a network or a
    GPU, as for a single result."""
    remote = any(is_url(tile.folder) for tile in tiles[:1])
    wanted = min(GPU_THREADS, len(os.sched_getaffinity(0))) if on_gpu(device) else 1 + remote
    room = (Workers(memory=memory).memory_bytes() - PROCESS) // TASK
    return int(max(1, min(wanted, room)))


def _dated(dates: When) -> Any:
    """Dates as JSON values; those of a file by what it holds."""
    if isinstance(dates, str | Path) and os.path.isfile(dates):
        return hashlib.sha256(Path(dates).read_bytes()).hexdigest()
    return str(dates)
