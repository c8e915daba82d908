"""What may stand for what was opened: its path, or the Dataset itself."""

from __future__ import annotations

import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.embeddings.opened import open_annual
from terralatent.pipeline.mapping.opened import open_bands, open_latents
from terralatent.pipeline.store.repository import Store

__all__ = ["opened"]


def opened(source: str | object) -> xr.Dataset:
    """Open latents, annual vectors or bands by their path; a Dataset is itself. Reads no pixels.

    Raises:
        InputError: If it is another store, or none.
    """
    if isinstance(source, xr.Dataset):
        return source
    store = Store.of(source)  # type: ignore[arg-type]
    kind = str(store.group() and store.about().get("kind"))
    openers = {"latents": open_latents, "annual": open_annual, "bands": open_bands}
    if kind not in openers:
        raise InputError(
            f"{store} is a {kind} store; latents, annual vectors or decoded bands are wanted here."
        )
    return openers[kind](store)
