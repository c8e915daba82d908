"""Maps of changes opened as dask arrays. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from terralatent.pipeline.changes.arrays import KIND
from terralatent.pipeline.mapping.opened import open_result
from terralatent.pipeline.store.repository import Store

__all__ = ["open_changes"]


def open_changes(
    store: str | Path | Store, *, snapshot: str | None = None, level: int = 0
) -> xr.Dataset:
    """Open a map of changes as dask arrays; reads no pixels.

    Args:
        store: Path or URL.
        snapshot: Of the store, the newest by default.
        level: Of its overviews, whose pixels are 2^level times as wide; 0 is the store's own.

    Returns:
        ``changed`` (time, y, x), uint8, with CF's ``flag_values`` and ``flag_meanings``: 0 no
        change found, 1 changed beyond chance, 2 not enough known, 255 outside every scene.
        ``distance``, ``minus_log10_p`` and ``degrees`` (time, y, x), float32: the Mahalanobis
        distance, -log10 of its p-value (which itself would underflow), and the degrees of freedom
        of its square. Of latents ``standardised`` (time, latent, y, x): what each moved by, over
        the standard deviation of that; of an index ``difference`` and ``difference_std`` (time, y,
        x), in its units. Of changes between dates ``time`` is the second one, and
        ``expected_distance`` (time, y, x) that of a change as large as the prior expects. NaN
        outside every scene. ``attrs`` say between what, at which rate, and how many pixels changed.

    Raises:
        InputError: If there is no such store, or it has no such level.

    Examples:
        >>> import terralatent as tl
        >>> report = tl.changes("latents", between=("2017-09-15", "2017-12-15"), out="autumn")
        >>> moved = tl.open_changes("autumn")
        >>> moved["changed"].dims, moved["changed"].attrs["flag_meanings"]
        (('time', 'y', 'x'), 'no_change_found changed not_enough_known')
    """
    opened = open_result(store, KIND, snapshot=snapshot, level=level)
    attrs = Store.of(store).group(kind=KIND, snapshot=snapshot)["changed"].attrs
    names = ("flag_values", "flag_meanings", "flag_colors")
    opened["changed"].attrs.update({name: attrs[name] for name in names})
    return opened
