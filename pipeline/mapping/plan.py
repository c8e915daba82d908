"""What may stand for a cube, and the job that comes of it: a path, an opened cube, Datasets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.masking import leaves_open
from terralatent.pipeline.cube.reading import Reading
from terralatent.pipeline.dates import When
from terralatent.pipeline.mapping.inference import InferenceJob
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.pixels.model import ModelSource
from terralatent.pipeline.store.repository import Store

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

__all__ = ["CubeSource", "plan"]

CubeSource: TypeAlias = "str | Path | Store | xr.DataTree | xr.Dataset | Mapping[str, xr.Dataset]"
"""Path or URL of a cube; one that :func:`~terralatent.pipeline.cube.opened.open_cube` opened, also
after selections; or Datasets of sensors, one or by name, see
:func:`~terralatent.pipeline.cube.as_sensor.as_sensor`."""


def plan(
    cube: CubeSource,
    model: ModelSource,
    dates: When,
    reading: Reading,
    *,
    acquisitions_of: str | None = None,
    device: str = "auto",
    encoder: str = "float32",
) -> tuple[InferenceJob, tuple[da.Array, ...]]:
    """Check that a model fits a cube, and settle the dates. Reads no pixels.

    An opened cube that was selected in space alone is read from its store, with what lies around
    the selection; what else became of it counts as it is, as other Datasets do.

    Args:
        cube: See :data:`CubeSource`.
        model: See :data:`~terralatent.pipeline.pixels.model.ModelSource`.
        dates: See :func:`terralatent.pipeline.dates.parse_when`.
        reading: How a stored cube is read.
        acquisitions_of: The sensor that the dates ``acquisitions`` mean; all by default.
        device: Where the model runs.
        encoder: In what the encoders' networks compute.

    Returns:
        The job; of Datasets also the pixels that each block takes, see
        :func:`~terralatent.pipeline.mapping.given.plan_given`.

    Raises:
        InputError: If the cube, the dates, the device or the encoder cannot be used.
        CheckpointError: If there is no model, or it does not fit the cube.
    """
    if isinstance(cube, str | Path | Store):
        job = plan_job(
            cube, model, dates, reading,
            acquisitions_of=acquisitions_of, device=device, encoder=encoder,
        )  # fmt: skip
        return job, ()
    # Whoever gives a path, as the command line does, does not wait for xarray.
    from terralatent.pipeline.cube.selected import selection_of
    from terralatent.pipeline.mapping.given import plan_given

    sensors = _by_sensor(cube)
    selection = selection_of(sensors)
    if selection is not None:
        own = reading.masking if not leaves_open(reading.masking) else selection.masking
        job = plan_job(
            selection.store, model, dates,
            Reading(own, reading.at or selection.snapshot or None, reading.until),
            acquisitions_of=acquisitions_of, device=device, encoder=encoder,
            sensors=selection.sensors, window=selection.window,
        )  # fmt: skip
        return job, ()
    if reading.at is not None or not leaves_open(reading.masking):
        raise InputError(
            "at= and masking= are of a cube that is read from its store; mask Datasets before, or "
            "give open_cube the masking and the snapshot."
        )
    if reading.until is not None:
        raise InputError(
            "until= is of a cube that is read from its store, which knows when its items came; of "
            "Datasets select what was there before, such as ds.sel(time=slice(None, DAY))."
        )
    return plan_given(
        sensors, model, dates, acquisitions_of=acquisitions_of, device=device, encoder=encoder
    )


def _by_sensor(cube: xr.DataTree | xr.Dataset | Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """The Datasets of sensors, by name."""
    import xarray as xr

    if isinstance(cube, xr.DataTree):
        nodes = {str(name): node.to_dataset() for name, node in cube.children.items()}
        found = {name: own for name, own in nodes.items() if "data" in own}
        if not found:
            raise InputError("The tree has no sensor; give what open_cube opened, or parts of it.")
        return found
    if isinstance(cube, xr.Dataset):
        name = cube.attrs.get("sensor")
        if name is None:
            raise InputError(
                "The Dataset does not say which sensor it is of; bring it to the form of one, "
                'as_sensor(ds, "sentinel-2-l2a", ...), or give {"sentinel-2-l2a": ds}.'
            )
        return {str(name): cube}
    if not isinstance(cube, Mapping) or isinstance(cube, xr.Dataset) or not cube:
        raise InputError(
            f"A {type(cube).__name__} is no cube; give a path, what open_cube opened, a Dataset of "
            "as_sensor, or several by sensor."
        )
    return {str(name): own for name, own in cube.items() if isinstance(own, xr.Dataset)}
