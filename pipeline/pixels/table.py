"""A table of pixel series and a model -> latents in a Parquet file, streamed chunk by chunk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import model_hash, read_manifest
from terralatent.models.latent_model import LatentModel
from terralatent.models.shipped import model_folder, shipped_as
from terralatent.pipeline.dates import Times, When, days_since_1970
from terralatent.pipeline.pixels.features import parts_of, shared_dates, year_features
from terralatent.pipeline.pixels.model import ModelSource, PixelModel, kept_model, sensors_of
from terralatent.pipeline.progress import Progress, Silent
from terralatent.pipeline.sentence import Sentence
from terralatent.pipeline.tables.atomic import is_made, writing_parquet
from terralatent.pipeline.tables.columns import Columns
from terralatent.pipeline.tables.reading import chunks
from terralatent.pipeline.tables.series import Series
from terralatent.pipeline.tables.table import Table, TableSource

__all__ = ["TableReport", "embed_table", "latents_of"]

MOST_PIXELS, MOST_ROWS = 4096, 2**18
"""Pixels of a chunk, and rows of its result, at most: what is in memory at once."""


@dataclass(frozen=True, repr=False)
class TableReport(Sentence):
    """How the embedding of a table ended."""

    pixels: int
    """Of the table."""

    rows: int
    """Of the result."""

    wall: float
    """Seconds from first to last chunk."""

    repeated: bool
    """Whether the result was there before and nothing was done."""

    def __str__(self) -> str:
        if self.repeated:
            return f"already embedded, nothing done: {self.pixels:,} pixels"
        rate = f", {self.pixels / self.wall:,.0f} pixels/s" if self.wall else ""
        return f"{self.pixels:,} pixels in {self.rows:,} rows{rate}"


def embed_table(
    source: TableSource,
    model: ModelSource,
    out: str | Path,
    *,
    dates: When = "monthly",
    wide: bool = False,
    columns: Columns = None,
    sensors: Sequence[str] | None = None,
    encoder: str = "float32",
    device: str = "auto",
    progress: Progress | None = None,
) -> TableReport:
    """Infer the latents of every pixel of a table and write them to a Parquet file; computes.

    The table is read twice, by row groups: first whole, so that nothing is computed from one that
    has a mistake. Of the file nothing is there before it is whole. The same call again does
    nothing.

    The result has in long form ``pixel``, ``time`` (UTC), what is carried of the pixel, and
    ``mean_0`` ... ``std_0`` ..., float32, a row for each pixel and date; latents are numbered as
    those of a store are. ``wide`` gives a row for each pixel: what is known of it and its
    :func:`~terralatent.pipeline.pixels.features.features`.

    Args:
        source: A ``.parquet`` or ``.csv`` file, a pandas frame, an Arrow table or a
            :class:`~terralatent.pipeline.tables.series.Series`.
        model: Folder of a model, or the name of one that comes with the package; the default of
            those if None.
        out: Where the result goes, a ``.parquet`` file.
        dates: See :func:`terralatent.pipeline.dates.parse_when`, where the period is from the first
            to the last observation of the table. ``acquisitions`` are each pixel's own dates.
        wide: Whether features of a year are wanted.
        columns: Where the table has what, if columns have other names.
        sensors: Those to use; by default all that the table and the model have.
        encoder: In what the encoders' networks compute.
        device: Where the model runs.
        progress: Advanced by every chunk.

    Raises:
        InputError: If the table, the dates or ``out`` cannot be used, or the model shares nothing
            with the table.
        CheckpointError: If the model cannot be read.
    """
    out = Path(out)
    model = kept_model(model) if isinstance(model, LatentModel) else model
    table = Table.open(source, columns, sensors)
    own = table.columns
    found = PixelModel.open(
        model,
        {name: (tuple(bands), own.units[name]) for name, bands in own.bands.items()},
        where=table.name,
        device=device,
        encoder=encoder,
    )
    pixels, span = _survey(table)
    at_own = isinstance(dates, str) and dates == "acquisitions" and not wide
    when = None if at_own else shared_dates(dates, span)
    parts = parts_of(found.model, len(when), None) if wide and when is not None else ()
    folder = model_folder(model)
    identity = {
        "kind": "features" if wide else "latents",
        "table": table.identity,
        "sensors": list(own.bands),
        "columns": [[name, list(bands.items())] for name, bands in own.bands.items()],
        "carried": list(own.attributes.items()),
        **shipped_as(read_manifest(folder)),
        "model_hash": model_hash(folder),
        "encoder": encoder,
        "dates": "acquisitions" if when is None else [str(date) for date in when],
    }
    if is_made(out, identity):
        return TableReport(pixels, 0, 0.0, repeated=True)
    step = MOST_PIXELS if when is None else max(1, min(MOST_PIXELS, MOST_ROWS // len(when)))
    bar, begun, rows = progress or Silent(), time.monotonic(), 0
    bar.start(pixels, "embed")
    try:
        with writing_parquet(out, identity) as write:
            for _, series in chunks(table, pixels=step):
                result = _of_chunk(found, series, when, parts)
                write(result)
                rows += len(result)
                bar.advance(len(series))
    finally:
        bar.close()
    return TableReport(pixels, rows, time.monotonic() - begun, repeated=False)


def latents_of(
    model: ModelSource, series: Series, dates: When = "monthly", *, device: str = "auto"
) -> pa.Table:
    """Infer the latents of series in memory. Computes.

    Args:
        model: In memory, or its folder, or the name of one that comes with the package.
        series: Of the pixels.
        dates: As for :func:`embed_table`.
        device: Where a model that is loaded runs.

    Returns:
        Rows in long form, as :func:`embed_table` writes them.

    Raises:
        InputError: If the model shares nothing with the series, or the dates mean nothing.
    """
    found = PixelModel.open(model, sensors_of(series), where="the table", device=device)
    at_own = isinstance(dates, str) and dates == "acquisitions"
    return _of_chunk(found, series, None if at_own else shared_dates(dates, series.times), ())


def _survey(table: Table) -> tuple[int, NDArray[np.int64]]:
    """Read a table whole: the number of its pixels, first and last time of an observation.

    Raises:
        InputError: If it has a mistake, or no value.
    """
    pixels, ends = 0, []
    for _, series in chunks(table):
        pixels += len(series)
        seen = np.logical_or.reduce([own.observed for own in series.sensors.values()])
        if seen.any():
            ends += [series.times[seen].min(), series.times[seen].max()]
    if not ends:
        raise InputError(f"{table.name} holds no value; a table has a row for each pixel and date.")
    return pixels, np.array([min(ends), max(ends)])


def _of_chunk(
    found: PixelModel, series: Series, when: Times | None, parts: Sequence[str]
) -> pa.Table:
    if when is None:
        return _at_own_dates(found, series)
    if parts:
        return year_features(found, series, when, parts).to_arrow()
    shape = (len(series), len(when), found.latents)
    mean, std = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for some in found.infer(series, days_since_1970(when)):
        mean[some.places], std[some.places] = some.mean, some.std
    pixel = np.repeat(np.arange(len(series)), len(when))
    times = np.tile(when.astype(np.int64), len(series))
    return _long(series, pixel, times, mean.reshape(-1, shape[2]), std.reshape(-1, shape[2]))


def _at_own_dates(found: PixelModel, series: Series) -> pa.Table:
    shape = (len(series.times), found.latents)
    mean, std = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for rows, some in found.infer_own(series):
        mean[rows], std[rows] = some.mean, some.std
    return _long(series, series.pixel_of_row, series.times, mean, std)


def _long(
    series: Series,
    pixel: NDArray[np.intp],
    times: NDArray[np.int64],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
) -> pa.Table:
    """A row for each pixel and date."""
    table = series.pixels.take(pa.array(pixel))
    table = table.add_column(1, "time", pa.array(times).cast(pa.timestamp("us", tz="UTC")))
    for name, values in (("mean", mean), ("std", std)):
        for latent, column in enumerate(values.T):
            table = table.append_column(f"{name}_{latent}", pa.array(np.ascontiguousarray(column)))
    return table
