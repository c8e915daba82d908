"""The observations that a result was made from: the cube it names, if that is still there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.attributes import nested
from terralatent.pipeline.cube.masking import Masking
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.pictures.cube import sensors_of
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.store.whereabouts import MADE_FROM, resolve_beside

__all__ = ["NEAR_DAYS", "captions_of", "cube_of", "passes_of", "unobserved", "unobserved_note"]

NEAR_DAYS = 45
"""Beyond so many days from every acquisition a date shows the prior more than the place."""

UNOBSERVED = "unobserved"


def cube_of(store: Store, attrs: Mapping[str, Any]) -> xr.DataTree | None:
    """Open the cube that a result was made from, at its snapshot and masked as for the result.

    ``data`` holds also what is not clear. Reads no pixels.

    Args:
        store: The result.
        attrs: Of its root.

    Returns:
        None where the result names no cube, or that, or its snapshot, is not there any more.
    """
    place = resolve_beside(store, str(attrs.get(MADE_FROM, "")))
    if place is None:
        return None
    try:
        cube, snapshot = Store.of(place), str(attrs.get("cube_snapshot", "")) or None
        with translated_errors(cube):
            kept = {name for name, _ in cube.group(kind="cube", snapshot=snapshot).groups()}
            masked = nested(attrs, "masking")
            masking = {name: Masking.from_json(own) for name, own in masked.items() if name in kept}
            return open_cube(cube, clear=False, masking=masking or None, snapshot=snapshot)
    except (InputError, OSError):  # of a cube that was moved, was let go, or needs a key
        return None


def passes_of(cube: xr.DataTree | None) -> NDArray[Any] | None:
    """The times of all acquisitions, of all sensors; None of no cube. Reads no pixels."""
    if cube is None:
        return None
    own = [cube[name].ds.time.values.astype("datetime64[us]") for name in sensors_of(cube)]
    return np.sort(np.concatenate([np.empty(0, "datetime64[us]"), *own]))


def unobserved(times: NDArray[Any], cube: xr.DataTree | None) -> NDArray[np.bool_]:
    """Whether no sensor of ``cube`` passed within :data:`NEAR_DAYS` days, for each of ``times``.

    Reads no pixels, so that an acquisition counts however cloudy it was. None is where the cube is
    not known.
    """
    passes = passes_of(cube)
    if passes is None or not passes.size:
        return np.full(len(times), passes is not None)
    apart = np.abs(times[:, None].astype("datetime64[us]") - passes)
    return np.asarray(apart.min(axis=1) > np.timedelta64(NEAR_DAYS, "D"))


def captions_of(times: NDArray[Any], cube: xr.DataTree | None) -> list[str]:
    """Each date as it stands above its map, with a word where there is no acquisition near it."""
    return [
        f"{np.datetime_as_string(time, unit='D')}{f'  {UNOBSERVED}' if alone else ''}"
        for time, alone in zip(times, unobserved(times, cube), strict=True)
    ]


def unobserved_note(captions: list[str]) -> str:
    """What the word in ``captions`` means; empty where none has it."""
    if not any(caption.endswith(UNOBSERVED) for caption in captions):
        return ""
    return f"; {UNOBSERVED}: no acquisition within {NEAR_DAYS} days"
