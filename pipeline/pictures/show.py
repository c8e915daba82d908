"""Pictures of stores: of what was built, inferred and predicted."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import odc.geo.xr  # noqa: F401  (gives xarray objects .odc)
import xarray as xr
import zarr
from matplotlib.figure import Figure

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.pipeline.pictures.season import MOVING, Season, animate, require_writer
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.history import find_snapshot
from terralatent.pipeline.store.repository import Store

if TYPE_CHECKING:  # it comes with what reads rasters, which a refusal does without
    from terralatent.pipeline.overviews.opened import Budget

__all__ = ["show"]


@overload
def show(
    store: str | Path | Store,
    out: None = None,
    *,
    sensor: str | None = None,
    variable: str | None = None,
    date: str | None = None,
    pixel: str | None = None,
    level: int | None = None,
    at: str | None = None,
) -> Figure: ...


@overload
def show(
    store: str | Path | Store,
    out: str | Path,
    *,
    sensor: str | None = None,
    variable: str | None = None,
    date: str | None = None,
    pixel: str | None = None,
    level: int | None = None,
    at: str | None = None,
) -> Path: ...


def show(
    store: str | Path | Store,
    out: str | Path | None = None,
    *,
    sensor: str | None = None,
    variable: str | None = None,
    date: str | None = None,
    pixel: str | None = None,
    level: int | None = None,
    at: str | None = None,
) -> Path | Figure:
    """Draw a picture of a store, of the series of one of its pixels, or its season. Computes.

    Args:
        store: A cube (clearest dates in colour, clear share through time), latents (three of them
            as colours, and the uncertainty), decoded bands (surface and its uncertainty) or a map
            (classes with a legend, and entropy; or a number), annual vectors (three components as
            colours, and the uncertainty), or changes (what changed, and by how much).
        out: The picture's file; its ending says the format (.png, .pdf, .svg, .jpg). Ending in .gif
            or .mp4 it moves: all stored dates of a cube's sensor (those that are clear), of latents
            or of bands, one after the other.
        sensor: Of a cube: the first sensor by default, or with ``pixel`` all.
        variable: A band, an index of bands (:data:`terralatent.pipeline.indices.INDICES`), a latent
            (name or number), ``observations``, a class or ``entropy``.
        date: ISO date; only the stored date nearest to it.
        pixel: ``X,Y`` in map coordinates or, as whole numbers, column and row.
        level: Of the overviews, 0 for the store's own pixels. By default the one that the panels
            have room for and that takes at most 4.5 MB, see
            :func:`terralatent.pipeline.overviews.opened.level_for`; 0 where there are none.
        at: An earlier snapshot, see :func:`terralatent.pipeline.store.history.find_snapshot`.

    Returns:
        The picture's file; without ``out`` a figure, which a notebook displays.

    Raises:
        InputError: If there is no such store, sensor, variable or pixel, if the store is damaged,
            if it has no season, or if ``out`` cannot be written.

    Examples:
        >>> import terralatent as tl
        >>> tl.show("landcover", "crops.png").name
        'crops.png'
        >>> figure = tl.show("latents", date="2017-12-15")
    """
    store = Store.of(store)
    if out is not None:
        _check_format(Path(out))
        refuse_inside_store(out)
    if pixel is not None and date is not None:
        raise InputError("A series of a pixel shows every date; give either a pixel or a date.")
    if pixel is not None and level:
        raise InputError("A series is of a pixel of the store; leave the level out.")
    moving = out is not None and Path(out).suffix.lower() in MOVING
    if moving and (pixel, date) != (None, None):
        raise InputError(
            f"{Path(str(out)).name} shows maps of every date; leave pixel and date out, or end its "
            "name in .png."
        )
    request = _Request(sensor, variable, date, pixel, level, moving)
    with translated_errors(store):
        drawn = _draw(store, find_snapshot(store, at), request)
    if out is None:
        assert isinstance(drawn, Figure)  # only a file moves
        return drawn
    return _save(drawn, Path(out))


@dataclass(frozen=True)
class _Request:
    """What of a store is to be drawn."""

    sensor: str | None
    variable: str | None
    date: str | None
    pixel: str | None
    level: int | None
    moving: bool

    def level_of(self, root: zarr.Group, budget: Budget) -> int:
        """The level to draw, chosen by what the picture takes where it is left open."""
        from terralatent.pipeline.overviews.opened import level_for

        return level_for(root, budget) if self.level is None else self.level


def _draw(store: Store, snapshot: str | None, request: _Request) -> Figure | Season:
    kind = store.about().get("kind")
    if kind == "cube" and request.level:
        raise InputError(f"{store} is a cube, which has no overviews; leave the level out.")
    if request.moving and kind in ("annual", "landcover", "changes"):
        raise InputError(
            f"{store} has no season: its kind is {kind}; a cube, latents or bands have one. End "
            "the name in .png."
        )
    if kind == "cube":
        return _cube(store, snapshot, request)
    if kind == "latents":
        if request.sensor is not None:
            raise InputError(
                f"{store} holds latents, which are of all sensors; leave the sensor out."
            )
        return _latents(store, snapshot, request)
    if kind == "bands":
        return _bands(store, snapshot, request)
    if kind == "annual":
        return _annual(store, snapshot, request)
    if kind == "landcover":
        return _landcover(store, snapshot, request)
    if kind == "changes":
        return _changes(store, snapshot, request)
    raise InputError(
        f"{store} is a {kind} store; a cube, latents, bands, annual vectors or a map "
        "is wanted here."
    )


def _cube(store: Store, snapshot: str | None, request: _Request) -> Figure | Season:
    from terralatent.pipeline.cube.opened import open_cube
    from terralatent.pipeline.pictures.cube import cube_picture, cube_season, sensors_of
    from terralatent.pipeline.pictures.series import find_pixel, observed_series

    cube = open_cube(store, clear=False, snapshot=snapshot)
    sensors = sensors_of(cube)
    if request.sensor is not None and request.sensor not in sensors:
        raise InputError(f"{store} has no sensor {request.sensor!r}; it has {', '.join(sensors)}.")
    sensor = request.sensor or _first(sensors)
    if request.moving:
        return cube_season(cube, sensor, request.variable)
    if request.pixel is None:
        return cube_picture(cube, sensor, variable=request.variable, date=request.date)
    at = find_pixel(cube[sensors[0]].ds, request.pixel)
    return observed_series(
        cube, [request.sensor] if request.sensor else sensors, at, request.variable
    )


def _latents(store: Store, snapshot: str | None, request: _Request) -> Figure | Season:
    from terralatent.pipeline.mapping.opened import open_latents
    from terralatent.pipeline.overviews.opened import kept_order, level_shapes
    from terralatent.pipeline.pictures.informative import information
    from terralatent.pipeline.pictures.latents import (
        latents_budget,
        latents_picture,
        latents_season,
    )
    from terralatent.pipeline.pictures.mosaic import spread
    from terralatent.pipeline.pictures.observed import cube_of
    from terralatent.pipeline.pictures.series import find_pixel, latent_series

    if request.pixel is not None:
        latents = open_latents(store, snapshot=snapshot)
        if request.variable is not None:
            raise InputError("A series of a pixel shows every latent; leave the variable out.")
        return latent_series(latents, find_pixel(latents, request.pixel))
    root = store.group(snapshot=snapshot)
    budget = latents_budget(root, request.variable, request.date, moving=request.moving)
    level = request.level_of(root, budget)
    latents = open_latents(store, snapshot=snapshot, level=level)
    order, cube = kept_order(root) if level else None, cube_of(store, latents.attrs)
    if request.moving:
        return latents_season(latents, variable=request.variable, order=order, cube=cube)
    nats = None
    if level and request.variable is None:  # three dates of the coarsest level are enough for it
        coarsest = open_latents(store, snapshot=snapshot, level=max(level_shapes(root)))
        nats = information(coarsest.isel(time=spread(coarsest.sizes["time"], 3))).values
    return latents_picture(
        latents, variable=request.variable, date=request.date, order=order, nats=nats, cube=cube
    )


def _bands(store: Store, snapshot: str | None, request: _Request) -> Figure | Season:
    from terralatent.pipeline.mapping.opened import open_bands
    from terralatent.pipeline.pictures.band_series import band_series
    from terralatent.pipeline.pictures.bands import bands_budget, bands_picture, bands_season
    from terralatent.pipeline.pictures.observed import cube_of
    from terralatent.pipeline.pictures.series import find_pixel

    bands: xr.Dataset = open_bands(store, snapshot=snapshot)
    if request.sensor is not None and request.sensor != bands.attrs.get("sensor"):
        raise InputError(f"{store} holds {bands.attrs.get('sensor')}, not {request.sensor}.")
    cube = cube_of(store, bands.attrs)
    if request.pixel is not None:
        return band_series(bands, find_pixel(bands, request.pixel), request.variable, cube)
    root = store.group(snapshot=snapshot)
    budget = bands_budget(root, request.variable, request.date, moving=request.moving)
    bands = open_bands(store, snapshot=snapshot, level=request.level_of(root, budget))
    if request.moving:
        return bands_season(bands, variable=request.variable, cube=cube)
    return bands_picture(bands, variable=request.variable, date=request.date, cube=cube)


def _annual(store: Store, snapshot: str | None, request: _Request) -> Figure:
    from terralatent.pipeline.embeddings.opened import open_annual
    from terralatent.pipeline.pictures.annual import annual_budget, annual_picture

    if (request.sensor, request.pixel) != (None, None):
        raise InputError(f"{store} holds annual vectors; leave sensor and pixel out.")
    root = store.group(snapshot=snapshot)
    level = request.level_of(root, annual_budget(root, request.variable, request.date))
    vectors = open_annual(store, snapshot=snapshot, level=level)
    return annual_picture(vectors, variable=request.variable, date=request.date)


def _landcover(store: Store, snapshot: str | None, request: _Request) -> Figure:
    from terralatent.pipeline.mapping.opened import open_landcover
    from terralatent.pipeline.pictures.landcover import landcover_budget, landcover_picture

    if (request.sensor, request.date, request.pixel) != (None, None, None):
        raise InputError(
            f"{store} is a map, which has no sensors, dates and series; leave these out."
        )
    root = store.group(snapshot=snapshot)
    level = request.level_of(root, landcover_budget(root, request.variable))
    return landcover_picture(
        open_landcover(store, snapshot=snapshot, level=level), variable=request.variable
    )


def _changes(store: Store, snapshot: str | None, request: _Request) -> Figure:
    from terralatent.pipeline.changes.opened import open_changes
    from terralatent.pipeline.pictures.changes import changes_budget, changes_picture

    if (request.sensor, request.pixel) != (None, None):
        raise InputError(f"{store} is a map of changes; leave sensor and pixel out.")
    root = store.group(snapshot=snapshot)
    level = request.level_of(root, changes_budget(root, request.variable, request.date))
    changes = open_changes(store, snapshot=snapshot, level=level)
    return changes_picture(changes, variable=request.variable, date=request.date)


def _first(sensors: list[str]) -> str:
    """The sensor to show when none is named: the one most people can read."""
    return "sentinel-2-l2a" if "sentinel-2-l2a" in sensors else sensors[0]


def _check_format(out: Path) -> None:
    ending = out.suffix.lower()
    if ending in MOVING:
        require_writer(out)
    elif ending.lstrip(".") not in Figure().canvas.get_supported_filetypes():
        raise InputError(
            f"Cannot draw {out.name!r}: end it in one of .png, .pdf, .svg or .jpg, or for a season "
            "in .gif or .mp4."
        )


def _save(drawn: Figure | Season, out: Path) -> Path:
    """Write the picture; one that was there before stays until the new one is whole."""
    aside = out.with_name(f".{out.stem}.{os.getpid()}{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(drawn, Figure):
            drawn.savefig(aside)
        else:
            animate(drawn, aside)
        os.replace(aside, out)
    except OSError as error:
        raise InputError(f"Cannot write {out}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            aside.unlink()
    return out
