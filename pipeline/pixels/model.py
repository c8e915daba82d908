"""A model and series of pixels: what they share, and batches of like dates through the model."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import load_model, save_model
from terralatent.models.latent_model import LatentModel
from terralatent.models.shipped import model_folder
from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.device import find_device
from terralatent.pipeline.pixels.batches import BATCH_OBSERVATIONS, infer_batches
from terralatent.pipeline.tables.calendars import alike, axes_of, lay
from terralatent.pipeline.tables.series import Series

__all__ = ["Inferred", "ModelSource", "PixelModel", "kept_model", "sensors_of"]

log = logging.getLogger(__name__)

ModelSource: TypeAlias = str | PathLike[str] | LatentModel | None
"""Folder of a model, or the name of one that comes with the package; an object that has such a
folder, as :class:`terralatent.pipeline.model.model.Model`; a model in memory; None: the default of
those that come with the package."""


@dataclass(frozen=True, eq=False)
class Inferred:
    """Some pixels of a series that went through the model together."""

    places: NDArray[np.intp]
    """Which, (n,)."""

    mean: NDArray[np.float32]
    """Of their latents, (n, Q, L)."""

    std: NDArray[np.float32]
    """The same shape."""

    block: SeriesBlock
    """Their observations, among those of others."""

    rows: NDArray[np.intp]
    """Which of the block they are, (n,)."""


@dataclass(frozen=True, eq=False)
class PixelModel:
    """A model, and the sensors and bands that it and some series share."""

    model: LatentModel
    """On its device."""

    bands: Mapping[str, tuple[str, ...]]
    """By shared sensor, the model's bands; those that the series lack are as if masked."""

    @classmethod
    def open(
        cls,
        source: ModelSource,
        sensors: Mapping[str, tuple[tuple[str, ...], str]],
        *,
        where: str,
        device: str = "auto",
        encoder: str = "float32",
    ) -> PixelModel:
        """Load a model and see what it shares with series. Reads no series.

        Args:
            source: The model; one in memory stays where it is, and as it is.
            sensors: Of the series: bands and units, by sensor.
            where: What messages call the series.
            device: Where a model runs that is loaded.
            encoder: In what the networks of its encoders compute.

        Raises:
            InputError: If they share no band, units differ, or there is no such device or encoder.
            CheckpointError: If the model cannot be read.
        """
        model = source if isinstance(source, LatentModel) else _load(source, device, encoder)
        known = {sensor.name: sensor for sensor in model.config.sensors}
        shared = {}
        for name, (bands, units) in sorted(sensors.items()):
            if name not in known:
                log.info("%s: the model does not know %s (not read)", where, name)
                continue
            if units != known[name].units:
                raise InputError(
                    f"{where}: {name} is in {units!r}, and the model reads {known[name].units!r}; "
                    "bring it to the model's units."
                )
            if lacking := [band for band in known[name].bands if band not in bands]:
                log.info("%s: %s has no %s (as if masked)", where, name, ", ".join(lacking))
            if set(bands) & set(known[name].bands):
                shared[name] = known[name].bands
        if not shared:
            theirs = "; ".join(f"{name} {', '.join(own.bands)}" for name, own in known.items())
            there = "; ".join(f"{name} {', '.join(own)}" for name, (own, _) in sensors.items())
            raise InputError(
                f"{where} has {there}, and the model reads {theirs}: none is shared. Name other "
                "columns (columns=) or another model, or train on this table."
            )
        if model.config.scene_errors:
            log.warning(
                "%s: errors over scenes, which this model takes off a cube's observations, are not "
                "known of a table; they stay in",
                where,
            )
        return cls(model, shared)

    @property
    def latents(self) -> int:
        """The number of latents L."""
        return self.model.config.latents

    def counts(self, series: Series) -> dict[str, NDArray[np.int64]]:
        """By shared sensor, how many observations of each pixel have any shared band, (N,)."""
        pixel, found = series.pixel_of_row, {}
        for name, bands in self.bands.items():
            own = series.sensors[name]
            places = [place for place, band in enumerate(own.bands) if band in bands]
            seen = np.isfinite(own.values[:, places]).any(axis=1)
            found[name] = np.bincount(pixel[seen], minlength=len(series))
        return found

    def infer(self, series: Series, days: NDArray[np.float64]) -> Iterator[Inferred]:
        """Infer the latents of all pixels at the same days. Computes.

        Args:
            series: Of N pixels.
            days: Days since 1970-01-01, (Q,).

        Yields:
            Each pixel once, in batches of like dates.
        """
        query = torch.from_numpy(days)
        for places, _, block in self._laid(series):
            for rows, mean, std in self._through(block, query):
                yield Inferred(places[rows], mean, std, block, rows)

    def infer_own(self, series: Series) -> Iterator[tuple[NDArray[np.intp], Inferred]]:
        """Infer each pixel at its own dates. Computes.

        Yields:
            Rows of the series, (r,), and what is inferred of them: ``places`` are then those of
            their pixels, (r,), ``mean`` and ``std`` (r, L).
        """
        for places, part, block in self._laid(series):
            times = np.unique(part.times)
            query = torch.from_numpy(days_since_1970(times.astype("datetime64[us]")))
            at = np.searchsorted(times, part.times)
            for rows, mean, std in self._through(block, query):
                mine = np.flatnonzero(np.isin(part.pixel_of_row, rows))
                pixel = part.pixel_of_row[mine]
                whose = np.searchsorted(rows, pixel)
                own = series.offsets[places[pixel]] + mine - part.offsets[pixel]
                yield (
                    own,
                    Inferred(
                        places[pixel], mean[whose, at[mine]], std[whose, at[mine]], block, rows
                    ),
                )

    def _laid(self, series: Series) -> Iterator[tuple[NDArray[np.intp], Series, SeriesBlock]]:
        for places in alike(series, BATCH_OBSERVATIONS):
            part = series.select(places)
            axes = {name: own for name, own in axes_of(part).items() if name in self.bands}
            yield places, part, lay(part, axes, self.bands)

    def _through(
        self, block: SeriesBlock, query: Tensor
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]]:
        for rows, mean, var in infer_batches(self.model, block, np.arange(len(block)), query):
            yield rows, mean.cpu().numpy(), self.model.latent_std(var).cpu().numpy()


def _load(source: str | PathLike[str] | None, device: str, encoder: str) -> LatentModel:
    kind, numbers = find_device(device)
    where = f"{kind}:{numbers[0]}" if isinstance(numbers, list) else kind
    model = load_model(model_folder(source), where)
    if encoder not in model.encoder_dtypes:
        able = " or ".join(model.encoder_dtypes)
        raise InputError(f"Encoders of this model compute in {able}, not in {encoder!r}.")
    model.encode_in(getattr(torch, encoder))
    return model


def kept_model(model: LatentModel) -> Path:
    """Keep a model that is in memory in a folder of this process, by what is in it.

    Workers on other machines do not see that folder; save the model where they do.
    """
    folder = _folder_of_process()
    aside = folder / "new"
    place = folder / save_model(model, aside, {})
    if place.exists():
        shutil.rmtree(aside)
    else:
        aside.rename(place)
    return place


@lru_cache(maxsize=1)
def _folder_of_process() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="terralatent-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def sensors_of(series: Series) -> dict[str, tuple[tuple[str, ...], str]]:
    """Bands and units of some series, by sensor, as :meth:`PixelModel.open` takes them."""
    return {name: (own.bands, own.units) for name, own in series.sensors.items()}
