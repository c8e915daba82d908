"""A cube and a model -> latents: each pixel's mean and standard deviation at any dates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, overload

from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cube.masking import MaskingRequest, leaves_open
from terralatent.pipeline.cube.reading import Reading, UntilRequest
from terralatent.pipeline.dates import When
from terralatent.pipeline.mapping.job import MappingJob
from terralatent.pipeline.mapping.latents.live import LiveLatents, require_live
from terralatent.pipeline.mapping.latents.product import Latents
from terralatent.pipeline.mapping.latents.states import has_states, lay_out_states, smooth_anew
from terralatent.pipeline.mapping.plan import CubeSource, plan
from terralatent.pipeline.mapping.results.fill import fill, model_of
from terralatent.pipeline.mapping.results.report import ResultReport
from terralatent.pipeline.pixels.model import ModelSource
from terralatent.pipeline.progress import ProgressChoice, choose_progress
from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.tables.columns import Columns
from terralatent.pipeline.tables.table import TableSource, is_table

if TYPE_CHECKING:
    import xarray as xr

    from terralatent.pipeline.pixels.table import TableReport

__all__ = ["embed"]

log = logging.getLogger(__name__)

MANY_CLIPPED = 1e-4
"""Share of clipped values above which they are worth a warning; the report counts them anyway."""


@overload
def embed(
    cube: CubeSource,
    model: ModelSource = None,
    out: None = None,
    *,
    dates: When = "monthly",
    encoder: str = "float32",
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
) -> xr.Dataset: ...
@overload
def embed(
    cube: CubeSource | TableSource,
    model: ModelSource = ...,
    out: str | Path = ...,
    *,
    dates: When = "monthly",
    precision: str = "packed",
    encoder: str = "float32",
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
    columns: Columns = None,
    sensors: Sequence[str] | None = None,
    wide: bool = False,
    live: bool = False,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> ResultReport | TableReport: ...
def embed(
    cube: CubeSource | TableSource,
    model: ModelSource = None,
    out: str | Path | None = None,
    *,
    dates: When = "monthly",
    precision: str = "packed",
    encoder: str = "float32",
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    until: UntilRequest = None,
    columns: Columns = None,
    sensors: Sequence[str] | None = None,
    wide: bool = False,
    live: bool = False,
    overviews: bool = True,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> xr.Dataset | ResultReport | TableReport:
    """Infer the latents of every pixel of ``cube`` at ``dates``: lazily, or to a store at ``out``.

    Without ``out`` reads no pixels and gives a Dataset as
    :func:`~terralatent.pipeline.mapping.opened.open_latents` does, float32, whose blocks are
    computed when they are asked for, on whatever Dask client is active, or in threads; a cube that
    was selected in space has the latents of the whole one there.

    With ``out`` computes, block by block on Dask workers. The same call again computes only what is
    not done; a stored cube is read at one snapshot, which it keeps from now on, and the result does
    not depend on its blocks. Where the cube has grown since, the result follows it: blocks that
    something new sees are inferred anew, and dates that came are added. A table of pixel series is
    embedded in this process into a Parquet file, see
    :func:`terralatent.pipeline.pixels.table.embed_table`.

    Args:
        cube: Path or URL of a cube; what :func:`~terralatent.pipeline.cube.opened.open_cube` opened
            of it, also after selections; Datasets of sensors, see
            :func:`~terralatent.pipeline.cube.as_sensor.as_sensor`; or a table: a ``.parquet`` or
            ``.csv`` file, a frame, or a :class:`~terralatent.pipeline.tables.series.Series`.
        model: Folder of a model that shares a band with the cube, or the name of one that comes
            with the package; by default that of the store at ``out`` where it is begun, else
            :data:`terralatent.models.shipped.DEFAULT`. What the cube lacks of its sensors and bands
            is as if masked; what it does not know is not read.
        out: Path or URL of the latents store, see
            :func:`~terralatent.pipeline.mapping.opened.open_latents`. A table needs one.
        dates: See :func:`terralatent.pipeline.dates.parse_when`.
        precision: ``packed`` keeps means as int16 in steps of 2.5e-4 and standard deviations as
            uint16 in steps of 2e-5; ``float32`` keeps both as they are.
        encoder: In what the encoders' networks compute: ``float32`` or ``bfloat16``, which is
            faster on a GPU and changes the latents by a small part of their standard deviations.
        device: Where a worker runs the model: ``auto``, ``cpu``, ``cuda``, ...
        masking: How the sensors are masked; as the model was trained, where it leaves that open.
        at: An earlier snapshot of the cube, see
            :func:`terralatent.pipeline.store.history.find_snapshot`.
        until: A day: only acquisitions that were there by its end are used, as in a cube of these
            alone; an :class:`~terralatent.pipeline.cube.reading.Until` states delays too.
        columns: Of a table, where it has what, if columns have other names.
        sensors: Of a table, those to use; all by default.
        wide: Of a table, whether a pixel has one row of features instead of one for each date.
        live: Whether the store keeps the filter's state of each pixel, so that an acquisition that
            came costs one step: dates from it on are then as of all acquisitions, and earlier ones
            stale until the same call without ``live``. See docs/live.md.
        overviews: Whether the store has :mod:`~terralatent.pipeline.overviews`, where it is large.
        client: A Dask client, its address, or a kind of cluster, see
            :func:`terralatent.pipeline.cluster.client.client_for`; processes on this machine by
            default.
        workers: Worker processes to start; one for each core of this machine by default.
        memory: What a worker may use, such as ``4GB``; it bounds what is in memory at once.
        progress: Advanced by every block; True: a bar, as by default in a notebook.

    Raises:
        InputError: If the cube, the dates or ``out`` cannot be used.
        CheckpointError: If the model cannot be read or does not fit the cube.

    Examples:
        >>> import terralatent as tl
        >>> dict(tl.embed("cube", dates="2017-09-15,2018-03-15").sizes)  # lazy: computed when asked
        {'time': 2, 'latent': 16, 'y': 18, 'x': 18, 'sensor': 2}
        >>> tl.embed("cube", out="kept", dates="2018-03-15")  # now, and opened by tl.open_latents
        ResultReport: 4 of 4 blocks, 306 pixels, ... pixels/s
    """
    progress = choose_progress(progress)
    if precision not in ("packed", "float32"):
        raise InputError(f"Precision {precision!r} is neither `packed` nor `float32`.")
    if is_table(cube):
        if out is None:
            raise InputError(
                "embed keeps the latents of a table in a file; give out=FILE.parquet, or use "
                "features, or embed_table of a model."
            )
        if not leaves_open(masking) or at is not None or until is not None:
            raise InputError(
                "A table has no mask, no snapshots and no items; leave masking, at and until out."
            )
        if live:
            raise InputError("live=True is of a cube that grows; leave it out for a table.")
        from terralatent.pipeline.pixels.table import embed_table

        return embed_table(
            cube, model, out, dates=dates, wide=wide, columns=columns, sensors=sensors,
            encoder=encoder, device=device, progress=progress,
        )  # fmt: skip
    if live and out is None:
        raise InputError("live=True keeps states beside latents in a store; give out=.")
    if columns is not None or sensors is not None or wide:
        raise InputError("columns, sensors and wide are of tables of pixel series; leave them out.")
    reading, result = Reading(masking, at, until), None if out is None else Store.of(out)
    if model is None and result is not None:
        model = model_of(result)
    job, pixels = plan(cube, model, dates, reading, device=device, encoder=encoder)
    if result is None:
        from terralatent.pipeline.mapping.lazy import lazy_result
        from terralatent.pipeline.mapping.opened import with_information

        return with_information(lazy_result(Latents(job, packed=False), pixels))
    who, packed = Workers(client, workers, memory), precision == "packed"
    if live and (pixels or not isinstance(job, MappingJob)):
        raise InputError("live=True keeps states of a cube in a store, not of Datasets; build one.")
    if live and isinstance(job, MappingJob):
        require_live(job)
    kept = live or has_states(result)
    latents = (LiveLatents if live else Latents)(job, packed, with_states=kept)
    if pixels:
        from terralatent.pipeline.mapping.lazy import fill_given

        return fill_given(latents, pixels, result, title="embed", progress=progress)
    report = fill(
        latents, result, who, title="embed",
        grow=partial(lay_out_states, job=job) if live else smooth_anew,
        overviews=overviews, progress=progress,
    )  # fmt: skip
    if report.clipped and report.clipped > MANY_CLIPPED * 2 * result.group()["mean"].size:
        log.warning(
            '%d latent values did not fit the packing and were clipped; precision="float32" '
            "keeps them.",
            report.clipped,
        )
    return report
