"""The two ways to a page: served for a browser, and in a notebook; each says what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from pathlib import Path
from typing import Any

import xarray as xr

from terralatent.catalogs.errors import InputError

__all__ = ["view_in_browser", "view_in_notebook"]


def view_in_browser(
    store: str | Path,
    *,
    cube: str | Path | None = None,
    model: str | Path | None = None,
    port: int = 0,
    origins: Collection[str] = (),
    browse: bool = True,
    say: Callable[[str], None],
) -> None:
    """Serve a page over a store on this machine's loopback until an interrupt. Computes.

    Args:
        store: A cube, latents, bands, annual vectors or a map.
        cube: That it was made from, of which observations are read; where the store notes it by
            default.
        model: Of latents, by which bands are decoded; the one that the store names by default.
        port: Of the server; 0 for one that is free.
        origins: Hosts, with a port where there is one, at which a proxy has the page.
        browse: Whether a browser is opened.
        say: Is given the address.

    Raises:
        InputError: If a library is missing, there is no such store, cube or port, or a cube or
            model is of no use to it.
    """
    _require("bokeh.server.server")
    from terralatent.pipeline.explorer.server import serve
    from terralatent.pipeline.explorer.viewed import view_of

    viewed = view_of(store, cube=cube, model=model)
    serve(viewed, port=port, origins=origins, browse=browse, say=say)


def view_in_notebook(
    data: xr.Dataset | xr.DataTree,
    *,
    cube: str | Path | xr.DataTree | None = None,
    model: str | Path | None = None,
) -> Any:
    """See :meth:`terralatent.pipeline.accessor.opened.Opened.view`."""
    _require("panel")
    from terralatent.pipeline.explorer.notebook import Explorer
    from terralatent.pipeline.explorer.viewed import view_of

    return Explorer(view_of(data, cube=cube, model=model).page())


def _require(library: str) -> None:
    try:
        import_module(library)
    except ImportError as error:
        raise InputError(
            f"view takes libraries that are not installed ({error}); run "
            '`pip install "terralatent[view]"`.'
        ) from error
