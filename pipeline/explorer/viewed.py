"""What is viewed: a store or a Dataset, with the cube and the model that it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.explorer.levels import OPENERS, Levels, open_levels
from terralatent.pipeline.explorer.page import Page
from terralatent.pipeline.explorer.pixel import PixelSeries, warm
from terralatent.pipeline.kinds import KINDS, known_kind
from terralatent.pipeline.pictures.cube import sensors_of
from terralatent.pipeline.pictures.heading import crs_name
from terralatent.pipeline.pictures.observed import cube_of
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.store.whereabouts import MODEL_FOLDER, resolve_beside

__all__ = ["Viewed", "view_of"]


@dataclass(frozen=True)
class Viewed:
    """What lies under a map."""

    shown: Mapping[str, Levels]
    """By name, the one to begin with first; the others are sensors of the cube."""

    cube: xr.DataTree | None
    """Of which observations are read, opened with ``clear=False``."""

    model: str | None
    """What names the model by which latents are decoded."""

    title: str

    def page(self) -> Page:
        """A page over it, with a state of its own. Computes: draws the first picture."""
        series = {
            name: PixelSeries(levels, self.cube, self.model) for name, levels in self.shown.items()
        }
        return Page(self.shown, series, self.title)

    def warm(self) -> None:
        """Load what the first click takes; nothing where nothing is decoded."""
        if self.model is not None:
            warm(self.model)


def view_of(
    source: str | Path | Store | xr.Dataset | xr.DataTree,
    *,
    cube: str | Path | xr.DataTree | None = None,
    model: str | Path | None = None,
) -> Viewed:
    """Open what is viewed, and find what it was made of. Reads no pixels.

    Args:
        source: A cube, latents, bands, annual vectors or a map: path, URL, or what was opened.
        cube: That it was made from; where the store notes it by default.
        model: Of latents, by which bands are decoded; the one that the store names by default.

    Raises:
        InputError: If there is no such store, or a cube or a model is of no use to it.
    """
    if isinstance(source, xr.DataTree):
        return _view_of_cube(source, str(source.attrs.get("store", "a cube")), model)
    if isinstance(source, xr.Dataset):
        store = Store.of(place) if (place := source.encoding.get("source")) else None
        if known_kind(source) == "changes":
            raise InputError("A map of changes has no view; tl.show draws it.")
        if known_kind(source) == "sensor":
            return Viewed(
                {str(source.attrs["sensor"]): open_levels(source)}, None, None, "a sensor"
            )
        return _view_of_result(open_levels(source), store, cube, model)
    store = Store.of(source)
    with translated_errors(store):
        kind = str(store.group() and store.about().get("kind"))
        if kind == "cube":
            if cube is not None:
                raise InputError(f"{store} is a cube itself; leave cube= out.")
            return _view_of_cube(open_cube(store, clear=False), str(store), model)
        if kind not in OPENERS:
            raise InputError(
                f"{store} is a {kind} store; a cube, latents, bands, annual vectors or a map is "
                "wanted here."
            )
        return _view_of_result(open_levels(store), store, cube, model)


def _view_of_cube(cube: xr.DataTree, title: str, model: str | Path | None) -> Viewed:
    if model is not None:
        raise InputError("A cube is shown as it is; leave model= out, or view latents of it.")
    names = sorted(sensors_of(cube), key=lambda name: not name.startswith("sentinel-2"))
    shown = {name: open_levels(cube[name].to_dataset()) for name in names}
    return Viewed(shown, cube, None, title)


def _view_of_result(
    levels: Levels,
    store: Store | None,
    cube: str | Path | xr.DataTree | None,
    model: str | Path | None,
) -> Viewed:
    if model is not None and levels.kind != "latents":
        raise InputError(f"model= decodes latents, and this is {KINDS[levels.kind]}; leave it out.")
    attrs = levels.finest.attrs
    tree = _cube(store, cube, attrs)
    shown = {"": levels}
    if tree is not None:
        shown |= {name: open_levels(tree[name].to_dataset()) for name in sensors_of(tree)}
    name = f"{store}" if store is not None else "a Dataset"
    title = f"{name}: {KINDS[levels.kind]}, {crs_name(levels.finest)}"
    return Viewed(shown, tree, _model(store, model, attrs, levels.kind), title)


def _cube(
    store: Store | None, given: str | Path | xr.DataTree | None, attrs: Mapping[str, Any]
) -> xr.DataTree | None:
    if isinstance(given, xr.DataTree):
        return given
    if given is not None:
        return open_cube(given, clear=False)
    return None if store is None else cube_of(store, attrs)


def _model(
    store: Store | None, given: str | Path | None, attrs: Mapping[str, Any], kind: str
) -> str | None:
    if given is not None or kind != "latents":
        return None if given is None else str(given)
    noted = str(attrs.get(MODEL_FOLDER, ""))
    if noted and store is not None:
        return resolve_beside(store, noted)
    return str(attrs["model_name"]) if attrs.get("model_name") else None
