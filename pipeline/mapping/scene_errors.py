"""Errors that an acquisition shares over a scene: estimated once for a cube, then taken off.

They are a pure function of the cube's snapshot and the model, on a coarse grid that knows no
blocks, so that two tilings of a region give the same latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.families import families_that
from terralatent.models.gpvae import GPVAE
from terralatent.models.latent_model import LatentModel
from terralatent.models.scene_errors import scene_offsets
from terralatent.pipeline.cube.coarse_grid import CELL, CoarseGrid, interpolate
from terralatent.pipeline.cube.masking import AS_STORED, Masks
from terralatent.pipeline.cube.reading import Places
from terralatent.pipeline.cube.series import SeriesBlock, read_series
from terralatent.pipeline.store.arrays import ArrayLayout, coordinate
from terralatent.pipeline.store.repository import BRANCH, Store

__all__ = ["SceneErrors", "estimate_scene_errors", "keep_scene_errors", "kept_scene_errors"]

GROUP = "scene_errors"
"""Where they are kept in a store of results."""

PIXELS = 16
"""Pixels along a side of a patch that are used, 256 in all: neighbours are alike, so that all 4,096
would add little at 16 times the cost."""

CELLS_A_CHUNK = 8


@dataclass(frozen=True, eq=False)
class SceneErrors:
    """What acquisitions are off by, on a coarse grid over a cube."""

    nodes: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Rows, and columns, of the cube's grid at which the values are, ascending."""

    offsets: Mapping[str, Any]
    """By sensor, physical units, (time, band, cell_y, cell_x) in the model's bands, float32: an
    array, or one of Zarr that is read where it is needed."""

    def corrected(self, series: SeriesBlock, y: slice, x: slice) -> SeriesBlock:
        """Return the series of a window without these errors.

        Args:
            series: Of the window, as the cube has them.
            y: Rows of the cube's grid.
            x: Columns of the cube's grid.
        """
        by_sensor = {
            name: replace(sensor, errors=interpolate(self.offsets[name], self.nodes, y, x))
            for name, sensor in series.by_sensor.items()
        }
        return replace(series, by_sensor=by_sensor)


def estimate_scene_errors(
    cube: zarr.Group,
    sensors: Sequence[str],
    model: LatentModel,
    *,
    cell: int = CELL,
    masks: Masks = AS_STORED,
    dates: Mapping[str, Places] | None = None,
) -> SceneErrors:
    """Estimate what the acquisitions of a cube are off by; computes, one patch of a cell at a time.

    Args:
        cube: Root group of a cube.
        sensors: Those that the model shares with it.
        model: See :func:`terralatent.models.scene_errors.scene_offsets`.
        cell: Pixels along a side of a cell.
        masks: How the sensors are masked.
        dates: By sensor, which of its dates are used; all where it is not named.

    Raises:
        InputError: If the model is of a family that cannot estimate them.
    """
    if not model.has_scene_errors:
        able = families_that(lambda family: family.has_scene_errors)
        raise InputError(
            f"errors over scenes are estimated by a {able}, not by a {model.config.model} model; "
            "train it without scene_errors."
        )
    rows, columns = cube[f"{sensors[0]}/data"].shape[-2:]
    grid = CoarseGrid((rows, columns), cell)
    counts = (len(grid.y), len(grid.x))
    bands = {name: model.config.sensor(name).bands for name in sensors}
    shapes = {name: (len(_axis(cube, name, dates)), len(bands[name])) for name in sensors}
    offsets = {name: np.zeros((*shapes[name], *counts), np.float32) for name in sensors}
    for patch in grid.patches():
        series = read_series(cube, sensors, patch.y, patch.x, masks, bands, dates)
        pixels = _spread_pixels(series)
        if pixels.size:
            seen = series.series(pixels, model.device)
            for name, offset in scene_offsets(cast(GPVAE, model), seen).items():
                offsets[name][(..., *patch.index)] = offset.cpu().numpy()
    return SceneErrors((grid.y, grid.x), offsets)


def _spread_pixels(series: SeriesBlock) -> NDArray[np.intp]:
    """Every so many rows and columns a pixel, of those inside some scene; row-major places."""
    chosen = np.zeros(series.shape, dtype=bool)
    steps = [-(-length // PIXELS) for length in series.shape]
    chosen[steps[0] // 2 :: steps[0], steps[1] // 2 :: steps[1]] = True
    return np.flatnonzero(chosen.ravel() & series.seen)


def _axis(cube: zarr.Group, sensor: str, dates: Mapping[str, Places] | None) -> NDArray[np.integer]:
    """The times of a sensor that are used, as stored."""
    times: Any = cube[f"{sensor}/time"]
    return np.asarray(times[...])[(dates or {}).get(sensor, slice(None))]


def keep_scene_errors(
    store: Store,
    errors: SceneErrors,
    cube: zarr.Group,
    bands: Mapping[str, Sequence[str]],
    dates: Mapping[str, Places] | None = None,
) -> None:
    """Write errors into a store of results, in one commit; the store has none so far.

    The group ``scene_errors`` then holds for each sensor an array of its name (time, band, cell_y,
    cell_x), with the sensor's own dates and the model's bands beside it. To be called by the
    coordinator alone.

    Args:
        store: Of results.
        errors: As estimated.
        cube: Root group of the cube.
        bands: The model's, by sensor.
        dates: As they were estimated.
    """
    session = store.repository().writable_session(BRANCH)
    group = zarr.open_group(session.store, mode="r+").create_group(GROUP)
    for name, places in zip(("cell_y", "cell_x"), errors.nodes, strict=True):
        about = {"long_name": f"{name[-1]} of a cell's values, pixels from the grid's first"}
        coordinate(name, (name,), places, about).create(group)
    for name, values in errors.offsets.items():
        time, band = f"{name}_time", f"{name}_band"
        own: Any = cube[name]
        axis = _axis(cube, name, dates)
        coordinate(time, (time,), axis, own["time"].attrs.asdict()).create(group)
        coordinate(band, (band,), np.array(bands[name], dtype=object)).create(group)
        length, count, *counts = values.shape
        ArrayLayout(
            name,
            (time, band, "cell_y", "cell_x"),
            values.shape,
            "float32",
            chunks=(max(1, length), count, *(min(CELLS_A_CHUNK, count) for count in counts)),
            fill_value=0.0,
            attrs={
                "long_name": f"what acquisitions of {name} are off by over a scene",
                "units": str(own["data"].attrs.get("units", "")),
            },
            data=values,
        ).create(group)
    store.commit(session, "estimate errors over scenes")


def kept_scene_errors(root: Any) -> SceneErrors | None:
    """The errors that a store of results holds, None where it holds none. Reads no pixels."""
    group = root.get(GROUP)
    if not isinstance(group, zarr.Group):
        return None
    arrays: dict[str, Any] = dict(group.arrays())
    offsets = {name: array for name, array in arrays.items() if array.ndim == 4}
    return SceneErrors((np.asarray(arrays["cell_y"]), np.asarray(arrays["cell_x"])), offsets)
