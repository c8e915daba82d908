"""Means of fields at any dates, with a standard deviation that knows what pixels share.

A field's mean has a lower standard deviation than a pixel, but not by the root of their number: an
acquisition is off over the whole scene, and where nothing was seen the field went its way as one.

Posterior means are locally linear in the observations, so what shared errors do to a field's mean
is found by perturbation: errors of acquisitions are drawn from their covariance, the same for all
pixels, added to the observations, and the field is inferred and decoded again. How the standard
deviation comes of that is in :mod:`terralatent.pipeline.fields.estimates`, how covariance and
correlation are estimated in :mod:`terralatent.pipeline.fields.shared_errors`.

References:
    | Gaussian sampling by local perturbations (Papandreou & Yuille, 2010)
"""

from __future__ import annotations

import logging
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.temporary import temporary_folder
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cube.masking import MaskingRequest
from terralatent.pipeline.cube.reading import Reading
from terralatent.pipeline.dates import When
from terralatent.pipeline.field_labels import FieldLabels, Fields, lay_fields
from terralatent.pipeline.fields.estimates import estimate_fields
from terralatent.pipeline.fields.origin import FieldOrigin
from terralatent.pipeline.fields.plan import FieldPlan, plan_fields
from terralatent.pipeline.fields.shared_errors import SharedErrors
from terralatent.pipeline.fields.sums import FieldSums, sum_block
from terralatent.pipeline.fields.table import check_ending, parts_of, read_means, write_means
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.mapping.memory import MemoryLimit
from terralatent.pipeline.mapping.results.fill import fill_blocks, model_of
from terralatent.pipeline.mapping.results.layout import OUTLIERS, result_layout
from terralatent.pipeline.mapping.results.report import LostBlock
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.store.arrays import Layout
from terralatent.pipeline.store.repository import Store

__all__ = ["FieldReport", "field_means"]

log = logging.getLogger(__name__)

FEW = 20_000
"""Pixels of all fields together up to which this process does the work: processes that are started
for fewer take longer to start than they save."""

LOSSES = "losses"
"""Attribute of a result: what failed, or came from a cube that is not whole, one line each."""

OWN = ("field", "time", "band", "mean", "std", "std_shared", "std_pixel", "pixels")
"""Names that a result has of its own."""


def field_means(
    cube: str | Path,
    model: str | Path | None,
    sensor: str,
    dates: When,
    fields: Fields,
    *,
    by: str | None = None,
    out: str | Path | None = None,
    errors: SharedErrors | None = None,
    draws: int = 32,
    most_pixels: int = 8,
    seed: int = 0,
    device: str = "auto",
    masking: MaskingRequest = None,
    at: str | None = None,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: Progress | None = None,
) -> xr.Dataset:
    """Predict the mean of ``sensor``'s bands over each field at ``dates``. Computes.

    Block by block on Dask workers; in this process where fields have 20,000 pixels or fewer
    together and neither workers nor a client beyond ``local`` are asked for. The result is the
    same, and knows no blocks. A worker holds a part of a block, this process the result. The
    standard deviation is within 1 / sqrt(2 ``draws``).

    With ``out`` the result is kept in a file. What is done lies in a hidden folder beside it,
    which workers must reach, until the file is whole: the same call again goes on where it stopped,
    and where the file is whole it is read. A file with another result is never replaced.

    Args:
        cube: Path or URL of a cube; it need not hold ``sensor``.
        model: Folder of a model that fits the cube, or the name of one that comes with the package,
            whose default it is if None.
        sensor: One of the model's sensors.
        dates: See :func:`terralatent.pipeline.dates.parse_when`.
        fields: A file of polygons such as GeoJSON, a geopandas frame of them in any CRS, or an
            integer array of labels on the cube's grid (y, x), 0 where there is no field.
        by: A column of the polygons, such as ``crop``: all that have one value of it are one field,
            whose name it is; those without a value are left out.
        out: A ``.parquet`` file, which gets a row for each field, date and band, or a ``.nc`` file.
        errors: What pixels of a field share; estimated from the cube by default.
        draws: Sets of errors that are drawn.
        most_pixels: Pixels of a field whose shifts are computed, about, evenly spread over it: all
            of a field that has no more, and of a large one every 64th at least.
        seed: Of the draws.
        device: Where a worker runs the model: ``auto``, ``cpu``, ``cuda``, ...
        masking: How the sensors are masked; as the model was trained, where it leaves that open.
        at: An earlier snapshot of the cube, see
            :func:`terralatent.pipeline.store.history.find_snapshot`.
        client: A Dask client, its address, or a kind of cluster, see
            :func:`terralatent.pipeline.cluster.client.client_for`.
        workers: Worker processes to start; one for each core of this machine by default.
        memory: What a worker may use, such as ``4GB``.
        progress: Advanced by every block.

    Returns:
        ``mean`` and ``std`` (field, time, band), float64, of the surface's mean over the field, in
        the sensor's units; beside them ``std_shared``, the part of ``std`` that errors of
        acquisitions make, ``std_pixel``, the root mean square of ``std_signal`` over its pixels,
        and ``pixels (field)``, those inside the scenes. NaN where a field has none. ``field`` is
        the frame's index, the label, or the value of ``by``; the frame's other columns are
        coordinates along it, those that are called as something of the result with a ``_`` behind,
        and with ``by`` those that are the same all over a group. ``attrs["correlation"]`` is rho,
        ``attrs["outliers"]`` holds for each sensor that was searched for them how many observations
        of the fields were masked, of how many, and ``attrs["losses"]`` what failed: a field that
        has a pixel in a lost block is NaN.

    Raises:
        InputError: If the cube, the dates, the sensor or ``out`` cannot be used, no field lies on
            the grid or inside a scene, there is no such column, or a count is below 1.
        CheckpointError: If the model cannot be read or does not fit the cube.

    Examples:
        >>> import terralatent as tl
        >>> means = tl.field_means(
        ...     "cube", "model", "sentinel-2-l2a", "2018-03-15", fields="labels.geojson"
        ... )
        >>> dict(means["mean"].sizes), means["pixels"].values.tolist()
        ({'field': 4, 'time': 1, 'band': 3}, [36, 36, 36, 36])
    """
    if draws < 1 or most_pixels < 1:
        raise InputError(f"draws is {draws}, most_pixels {most_pixels}; both must be at least 1.")
    file = None if out is None else Path(out)
    if file is not None:
        check_ending(file)
        model = model_of(Store.of(parts_of(file))) if model is None else model
    job = plan_job(cube, model, dates, Reading(masking, at), acquisitions_of=sensor, device=device)
    job.require_sensor(sensor)
    labels = lay_fields(fields, job.grid, by)
    plan = plan_fields(labels, job.block)
    sums = FieldSums(job, sensor, draws, most_pixels, seed, plan.slots)
    layout = _layout(sums, labels, plan, by, errors)
    if file is not None and not parts_of(file).exists():
        made = read_means(file, layout.identity)
        if made is not None:
            return made
    who = Workers(client, workers, memory)
    few = client in (None, "local") and workers is None and plan.total.sum() <= FEW
    limit = MemoryLimit(who.memory_bytes())
    sums.memory_plan(limit)  # too little is refused before anything is laid out
    with ExitStack() as stack:
        if file is None:
            parts = stack.enter_context(temporary_folder("terralatent-fields-")) / "sums"
        else:
            read_means(file, layout.identity)  # of a run that ended before it took its parts away
            parts = parts_of(file)
        store = Store.of(parts)
        report = fill_blocks(
            layout,
            FieldOrigin(job, labels, plan, errors, progress),
            partial(sum_block, sums, limit),
            store,
            None if few else who,
            title="fields",
            overviews=False,
            lasting=False,
            progress=progress,
        )
        means = _dataset(sums, labels, store, report.losses)
        if not means["pixels"].any() and not report.losses:
            if file is not None:
                shutil.rmtree(parts)
            raise InputError(
                f"None of the {len(labels)} fields has a pixel inside a scene of {cube}."
            )
        if file is not None:
            write_means(file, means, layout.identity)
            if not any(isinstance(loss, LostBlock) for loss in report.losses):
                shutil.rmtree(parts)
    return means


@dataclass(frozen=True)
class FieldReport:
    """What a result of :func:`field_means` holds."""

    fields: int
    """Fields, those without pixels too."""

    empty: int
    """Fields without a value."""

    dates: int
    """Dates."""

    bands: int
    """Bands."""

    pixels: int
    """Pixels of all fields together, inside some scene."""

    losses: tuple[str, ...]
    """What failed, or came from a cube that is not whole, one line each."""

    @classmethod
    def of(cls, means: xr.Dataset) -> FieldReport:
        """What is said of a result."""
        counts = means["pixels"].values
        sizes = (means.sizes["time"], means.sizes["band"])
        losses = tuple(means.attrs.get(LOSSES, ()))
        return cls(len(counts), int((counts == 0).sum()), *sizes, int(counts.sum()), losses)

    def __str__(self) -> str:
        empty = f" ({self.empty:,} without a value)" if self.empty else ""
        return (
            f"{self.fields:,} fields{empty}, {self.dates} dates, {self.bands} bands, "
            f"{self.pixels:,} pixels"
        )


def _layout(
    sums: FieldSums,
    labels: FieldLabels,
    plan: FieldPlan,
    by: str | None,
    errors: SharedErrors | None,
) -> Layout:
    """Lay out the store of sums. Reads no pixels."""
    identity = {
        "model": sums.job.model_hash,
        "sensor": sums.sensor,
        "by": by,
        "fields": f"{len(labels)}, {labels.digest[:16]}",
        "draws": sums.draws,
        "most_pixels": sums.most_pixels,
        "seed": sums.seed,
        "errors": "estimated" if errors is None else errors.to_json(),
    }
    about = {"title": f"{sums.sensor}, sums over fields", "sensor": sums.sensor}
    return result_layout(sums.job, "field sums", sums.arrays(plan), identity, about)


def _dataset(
    sums: FieldSums, labels: FieldLabels, store: Store, losses: tuple[LostBlock | str, ...]
) -> xr.Dataset:
    """The result, from what was summed of it."""
    root = store.group()
    found, job = estimate_fields(root), sums.job
    values = {name: (("field", "time", "band"), own) for name, own in found.values.items()}
    outliers: Any = root.attrs.get(OUTLIERS)
    lines = [str(loss) for loss in losses]
    if lines:
        log.warning("means of fields are not whole, %d losses: %s", len(lines), lines[0])
    return xr.Dataset(
        {**values, "pixels": ("field", found.pixels)},
        coords={
            "field": labels.names,
            "time": job.dates,
            "band": np.array(sums.config.bands, dtype=object),
            **_columns(labels),
        },
        attrs={
            **job.attributes(),
            "sensor": sums.sensor,
            "units": sums.config.units,
            "correlation": found.correlation,
            **({OUTLIERS: outliers} if outliers else {}),
            **({LOSSES: lines} if lines else {}),
        },
    )


def _columns(labels: FieldLabels) -> dict[str, tuple[str, Any]]:
    """What is known of the fields beside their names."""
    return {
        f"{name}_" if name in OWN else str(name): ("field", own.to_numpy())
        for name, own in labels.columns.items()
    }
