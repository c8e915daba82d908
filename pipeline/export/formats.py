"""The formats of an export, and which of them is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.progress import ProgressChoice, choose_progress
from terralatent.pipeline.store.repository import Store

__all__ = ["FORMATS", "export"]

FORMATS = ("zarr", "cog", "netcdf")

ENDINGS = {".zarr": "zarr", ".nc": "netcdf", ".nc4": "netcdf", ".tif": "cog", ".tiff": "cog"}
"""What the name of an export says of its format; a folder of COGs has no ending."""

OWN_OPTIONS = {"shards": "zarr", "zarr_format": "zarr", "precision": "zarr", "files": "cog"}
"""Options that only one format has."""


def export(
    store: str | Path | Store,
    out: str | Path,
    *,
    format: str | None = None,
    sensor: str | None = None,
    variable: str | None = None,
    date: str | None = None,
    shards: bool | None = None,
    zarr_format: int | None = None,
    precision: str | None = None,
    files: str | None = None,
    at: str | None = None,
    progress: ProgressChoice = None,
) -> Path:
    """Write a store, or part of it, in another format. Computes.

    Args:
        store: A cube, latents, bands or a map, by path or URL.
        out: Where it goes.
        format: One of :data:`FORMATS`; by default what the ending of ``out`` says, else ``zarr``.
        sensor: Take this sensor of a cube alone.
        variable: Of the arrays over the grid, take this one alone.
        date: Take the dates of this day or instant alone.
        shards: See :func:`terralatent.pipeline.export.zarr.export_zarr`; as the next two.
        zarr_format: 3 or 2.
        precision: ``packed`` or ``float32``.
        files: See :func:`terralatent.pipeline.export.cog.export_cogs`.
        at: An earlier snapshot.
        progress: Advanced by each shard; True: a bar, as by default in a notebook.

    Returns:
        The folder or file.

    Raises:
        InputError: If the format is none, contradicts the ending or has no such option, and as of
            the formats.

    Examples:
        >>> import terralatent as tl
        >>> tl.export("latents", "latents.nc", date="2018-03-15").name
        'latents.nc'
        >>> folder = tl.export("landcover", "crops-cog", format="cog")
        >>> sorted(file.name for file in folder.glob("*.tif"))
        ['class.tif', 'entropy.tif', 'probability.tif']
    """
    progress = choose_progress(progress)
    format = _format(out, format)
    own = {"shards": shards, "zarr_format": zarr_format, "precision": precision, "files": files}
    options: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    for name in options:
        if OWN_OPTIONS[name] != format:
            raise InputError(
                f'{name}= is of format="{OWN_OPTIONS[name]}", not of {format}; leave it out.'
            )
    if zarr_format == 2 and shards:
        raise InputError("Zarr v2 has no shards; leave shards= out, or take zarr_format=3.")
    part: dict[str, Any] = {
        "sensor": sensor, "variable": variable, "date": date, "at": at, "progress": progress,
    }  # fmt: skip
    if format == "cog":
        from terralatent.pipeline.export.cog import export_cogs

        return export_cogs(store, out, **part, **options)
    if format == "netcdf":
        from terralatent.pipeline.export.netcdf import export_netcdf

        return export_netcdf(store, out, **part)
    from terralatent.pipeline.export.zarr import export_zarr

    return export_zarr(store, out, **part, **options)


def _format(out: str | Path, format: str | None) -> str:
    if format not in (None, *FORMATS):
        raise InputError(f"There is no format {format!r}; there are {', '.join(FORMATS)}.")
    ending = Path(out).suffix.lower()
    meant = ENDINGS.get(ending)
    if meant == "cog":
        raise InputError(
            f"{out}: COGs go into a folder, a file for each date, not into one {ending} file; name "
            'a folder and take format="cog".'
        )
    if None not in (format, meant) and format != meant:
        raise InputError(
            f"{out} ends as {meant} does, and format= is {format}; change one of them."
        )
    if format == "netcdf" and meant is None:
        raise InputError(f"{out}: a netCDF file ends in .nc; add that.")
    return format or meant or "zarr"
