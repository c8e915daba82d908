"""A cube and a model -> annual vectors: a year of each pixel in a few components."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.models.annual import AnnualMap
from terralatent.models.checkpoint import CheckpointError
from terralatent.models.config import ModelConfig
from terralatent.models.families import families_that, find_family
from terralatent.models.shipped import model_folder
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cube.masking import MaskingRequest
from terralatent.pipeline.cube.reading import Reading, UntilRequest
from terralatent.pipeline.embeddings.packing import PRECISIONS
from terralatent.pipeline.embeddings.product import AnnualVectors, add_windows
from terralatent.pipeline.embeddings.windows import parse_windows
from terralatent.pipeline.mapping.inference import InferenceJob
from terralatent.pipeline.mapping.plan import CubeSource, plan
from terralatent.pipeline.mapping.results.fill import fill, model_of
from terralatent.pipeline.mapping.results.report import ResultReport
from terralatent.pipeline.pixels.model import ModelSource
from terralatent.pipeline.progress import ProgressChoice, choose_progress
from terralatent.pipeline.store.repository import Store

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["COMPONENTS", "annual"]

log = logging.getLogger(__name__)

COMPONENTS = 64
"""By default; see docs/annual.md for what fewer lose."""


@overload
def annual(
    cube: CubeSource,
    model: ModelSource = None,
    out: None = None,
    *,
    window: str | Sequence[str] | None = None,
    every: str | None = None,
    components: int = COMPONENTS,
    encoder: str = "float32",
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
) -> xr.Dataset: ...
@overload
def annual(
    cube: CubeSource,
    model: ModelSource = ...,
    out: str | Path = ...,
    *,
    window: str | Sequence[str] | None = None,
    every: str | None = None,
    components: int = COMPONENTS,
    precision: str = "int8",
    encoder: str = "float32",
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> ResultReport: ...
def annual(
    cube: CubeSource,
    model: ModelSource = None,
    out: str | Path | None = None,
    *,
    window: str | Sequence[str] | None = None,
    every: str | None = None,
    components: int = COMPONENTS,
    precision: str = "int8",
    encoder: str = "float32",
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> xr.Dataset | ResultReport:
    """Reduce each window of a year of every pixel to a few components: lazily, or to a store.

    Without ``out`` reads no pixels and gives a Dataset as
    :func:`~terralatent.pipeline.embeddings.opened.open_annual` does, float32, whose blocks are
    computed when they are asked for. With ``out`` computes, block by block on Dask workers.

    Posterior means on the 15th of each month go through the fixed linear map of the model, see
    :mod:`terralatent.models.annual`; the standard deviation of each component comes from the joint
    posterior covariance over these dates. All observations of the cube count, those outside the
    window too. Windows that ``out`` has already are made anew where the cube has changed since, if
    they are named again, and left as they are otherwise; further ones are added.

    Args:
        cube: As for :func:`~terralatent.pipeline.mapping.embed.embed`.
        model: Folder of a model that has such a map, or the name of one that comes with the
            package; by default that of the store at ``out`` where it is begun, else
            :data:`terralatent.models.shipped.DEFAULT`.
        out: Path or URL of the store, see
            :func:`~terralatent.pipeline.embeddings.opened.open_annual`.
        window: First and last day of a year (``2018-10-01/2019-09-30``), a year (``2018``), or some
            of these; all years of the calendar within the cube by default, else its last year.
        every: ``month`` or ``year``: further windows that begin so far apart.
        components: How many, of those of the map; what explains most comes first.
        precision: ``int8``, ``int16`` or ``float32``: how both are kept.
        encoder: In what the encoders' networks compute.
        device: Where a worker runs the model.
        masking: How the sensors are masked; as the model was trained, where it leaves that open.
        at: An earlier snapshot of the cube.
        until: A day: only acquisitions that were there by its end are used, as for
            :func:`~terralatent.pipeline.mapping.embed.embed`.
        overviews: Whether the store has :mod:`~terralatent.pipeline.overviews`, where it is large.
        client: A Dask client, its address, or a kind of cluster; processes here by default.
        workers: Worker processes to start.
        memory: What a worker may use.
        progress: Advanced by every block; True: a bar, as by default in a notebook.

    Raises:
        InputError: If the cube or ``out`` cannot be used, or a window is not of a year, leaves the
            cube or has no acquisition.
        CheckpointError: If the model cannot be read, does not fit the cube or has no map.

    Examples:
        >>> import terralatent as tl
        >>> dict(tl.annual("cube", window="2017-08-01/2018-07-31").sizes)  # lazy
        {'time': 1, 'component': 64, 'y': 18, 'x': 18, 'sensor': 2}
        >>> tl.annual("cube", "model", out="year", window="2017-08-01/2018-07-31", components=3)
        ResultReport: 4 of 4 blocks, 306 pixels, ... pixels/s
    """
    progress = choose_progress(progress)
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise InputError(f"Precision {precision!r} is unknown; give {known}.")
    reading, result = Reading(masking, at, until), None if out is None else Store.of(out)
    if model is None and result is not None:
        model = model_of(result)
    # Windows need the cube: until they are known, any dates will do.
    job, pixels = plan(cube, model, "acquisitions", reading, device=device, encoder=encoder)
    mapped = _map_of(job, components)
    windows = parse_windows(window, every, job.period, job.acquisitions)
    dates = np.unique(np.concatenate([own.dates for own in windows]))
    micros = dates.astype("datetime64[us]").astype(np.int64)
    job = replace(job, times=tuple(micros.tolist()))
    kept = "float32" if result is None else precision
    product = AnnualVectors(job, windows, components, kept, mapped.digest())
    if result is None:
        from terralatent.pipeline.embeddings.opened import annual_dataset
        from terralatent.pipeline.mapping.lazy import lazy_result

        return annual_dataset(
            lazy_result(product, pixels),
            np.array([own.end for own in windows], "datetime64[us]"),
            [job.snapshot] * len(windows),
        )
    if pixels:
        from terralatent.pipeline.mapping.lazy import fill_given

        return fill_given(product, pixels, result, title="annual", progress=progress)
    who = Workers(client, workers, memory)
    return fill(
        product, result, who, title="annual", grow=lambda store: add_windows(store, product),
        overviews=overviews, progress=progress,
    )  # fmt: skip


def _map_of(job: InferenceJob, components: int) -> AnnualMap:
    """The model's map to so many components.

    Raises:
        CheckpointError: If it has none.
        InputError: If it has not as many.
    """
    config: ModelConfig = job.config()
    if not find_family(config.model).has_joint:
        able = families_that(lambda family: family.has_joint)
        raise CheckpointError(
            f"{job.model} is a {config.model} model, which gives no covariance between dates; "
            f"annual vectors take a {able}."
        )
    try:
        return AnnualMap.load(model_folder(job.model)).first(components)
    except CheckpointError:
        raise
    except ValueError as error:
        raise InputError(f"{job.model}: {error}") from error
