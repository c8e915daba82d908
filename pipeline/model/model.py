"""A model as an object with the verbs as methods; whatever takes a model takes one of these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import load_model as load_latent_model
from terralatent.models.checkpoint import model_hash
from terralatent.models.latent_model import LatentModel
from terralatent.models.shipped import DEFAULT, model_folder, reference_of
from terralatent.pipeline.dates import When
from terralatent.pipeline.embeddings.annual import annual
from terralatent.pipeline.info.models import ModelStatus, model_status
from terralatent.pipeline.mapping.decode import decode
from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.mapping.plan import CubeSource
from terralatent.pipeline.model.arrays import ArraySeries, embed_arrays
from terralatent.pipeline.model.decoding import decode_latents
from terralatent.pipeline.model.description import format_html, format_text
from terralatent.pipeline.pixels.model import kept_model
from terralatent.pipeline.pixels.table import latents_of
from terralatent.pipeline.tables.columns import Columns
from terralatent.pipeline.tables.series import Series
from terralatent.pipeline.tables.table import TableSource

if TYPE_CHECKING:
    import pandas

__all__ = ["Model", "load_model", "pretrained"]


def load_model(model: str | Path | LatentModel) -> Model:
    """Open a model as an object. Reads its manifest, and its weights when they are needed.

    Args:
        model: Its folder, as ``train`` writes it; the name of one that comes with the package; or
            one in memory, which is kept in a folder that lasts as long as this process.

    Raises:
        CheckpointError: If there is no model.

    Examples:
        >>> import terralatent as tl
        >>> model = tl.load_model("s1s2l8")
        >>> model.sensors
        ('landsat-c2-l2', 'sentinel-1-asc', 'sentinel-1-desc', 'sentinel-2-l2a')
    """
    if isinstance(model, LatentModel):
        return Model(str(kept_model(model)))
    opened = Model(reference_of(model))
    model_hash(opened.folder)  # raises where there is none
    return opened


def pretrained(name: str = DEFAULT) -> Model:
    """Open a model that comes with the package.

    Args:
        name: Such as ``s1s2l8``; see :func:`terralatent.models.shipped.shipped_names`.

    Raises:
        CheckpointError: If there is none of that name.

    Examples:
        >>> import terralatent as tl
        >>> tl.pretrained().latents
        16
    """
    return load_model(name)


@dataclass(frozen=True)
class Model:
    """A model in a folder: small, picklable, the same on every machine that has the folder.

    Examples:
        >>> import terralatent as tl
        >>> model = tl.pretrained()
        >>> model.latents, model.bands["sentinel-1-asc"]
        (16, ('vv', 'vh'))
        >>> latents = model.embed("cube", dates="2018-03-15")
        >>> model.decode(latents, "sentinel-2-l2a")["mean"].dims
        ('time', 'band', 'y', 'x')
    """

    reference: str
    """The absolute path of its folder, or the name of one that comes with the package."""

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def folder(self) -> Path:
        """Where it lies on this machine."""
        return model_folder(self.reference)

    @property
    def status(self) -> ModelStatus:
        """What its folder says of it and of its training."""
        return model_status(self.folder)[0]

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the sensors that it knows."""
        return tuple(self.status.sensors or ())

    @property
    def bands(self) -> dict[str, tuple[str, ...]]:
        """By sensor, the bands that it reads and predicts."""
        return {name: own.bands for name, own in (self.status.sensors or {}).items()}

    @property
    def latents(self) -> int:
        """The number of latent series of a pixel."""
        return int(self.status.latents or 0)

    def latent_model(self, device: torch.device | str = "cpu") -> LatentModel:
        """The torch module, ready for inference, float32."""
        return load_latent_model(self.folder, device)

    def embed(self, cube: CubeSource, *, dates: When = "monthly", **options: Any) -> xr.Dataset:
        """Latents of a cube, lazily, see :func:`terralatent.pipeline.mapping.embed.embed`.

        Args:
            cube: A path, an opened cube, or Datasets of sensors.
            dates: See :func:`terralatent.pipeline.dates.parse_when`.
            **options: ``masking``, ``at``, ``encoder``, ``device``.
        """
        return embed(cube, self, dates=dates, **options)

    def decode(
        self, source: CubeSource, sensor: str, *, dates: When | None = None, **options: Any
    ) -> xr.Dataset:
        """Bands of a sensor, lazily, from latents at their dates, or from a cube at ``dates``.

        Args:
            source: Latents of this model as ``embed`` gives them or ``open_latents`` opens them;
                or a cube, see :func:`terralatent.pipeline.mapping.decode.decode`.
            sensor: One of :attr:`sensors`.
            dates: Of a cube; ``monthly`` by default.
            **options: Of a cube: ``masking``, ``at``, ``device``.

        Raises:
            InputError: If latents are another model's, or the model knows no such sensor.
        """
        if isinstance(source, xr.Dataset) and "latent" in source.dims:
            if dates is not None or options:
                raise InputError(
                    "Latents are decoded at the dates they have; select some, latents.sel(time=...)"
                    ", or give a cube."
                )
            return decode_latents(self.reference, source, sensor)
        return decode(source, self, sensor, dates if dates is not None else "monthly", **options)

    def annual(self, cube: CubeSource, **options: Any) -> xr.Dataset:
        """Annual vectors, lazily, see :func:`terralatent.pipeline.embeddings.annual.annual`.

        Args:
            cube: A path, an opened cube, or Datasets of sensors.
            **options: ``window``, ``every``, ``components``, ``masking``, ``at``, ``encoder``,
                ``device``.
        """
        return annual(cube, self, **options)

    def embed_table(
        self,
        table: TableSource,
        *,
        pixel: str = "pixel",
        time: str = "time",
        sensor: str | None = None,
        columns: Columns = None,
        dates: When = "monthly",
        device: str = "auto",
    ) -> pandas.DataFrame:
        """Latents of a table of pixel series, in memory. Computes.

        Args:
            table: A frame, an Arrow table, a file, or a
                :class:`~terralatent.pipeline.tables.series.Series`.
            pixel: Its column that says which pixel a row is of.
            time: Its column of times, UTC.
            sensor: The sensor that columns of bands are of, where the table has one.
            columns: Where it has what, if bands have other names; see docs/tables.md.
            dates: See :func:`terralatent.pipeline.dates.parse_when`; ``acquisitions`` are each
                pixel's own.
            device: Where the model runs.

        Returns:
            ``pixel``, ``time``, what is carried of a pixel, ``mean_0`` ... and ``std_0`` ...,
            float32: a row for each pixel and date.

        Raises:
            InputError: If the table or the dates cannot be used, or the model shares nothing with
                the table.
        """
        if isinstance(columns, str | Path):
            given: Columns = columns
        else:
            given = {"pixel": pixel, "time": time, **(columns or {})}
        series = Series.from_table(table, given, None if sensor is None else [sensor])
        return latents_of(self.reference, series, dates, device=device).to_pandas()

    def embed_arrays(self, series: ArraySeries, dates: Any, *, device: str = "auto") -> Any:
        """Latents of arrays of numpy or torch; see :func:`~.arrays.embed_arrays`. Computes."""
        return embed_arrays(self.latent_model(), series, dates, device=device)

    def __repr__(self) -> str:
        return format_text(self.reference, self.status)

    def _repr_html_(self) -> str:
        return format_html(self.reference, self.status)
