"""A map as cloud-optimised GeoTIFFs: a file for each array, which any GIS opens."""

from __future__ import annotations

from pathlib import Path

from rasterio.errors import RasterioError

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.temporary import temporary_folder
from terralatent.pipeline.export.cog_files import one_cog
from terralatent.pipeline.export.selection import is_on_grid
from terralatent.pipeline.store.location import is_url
from terralatent.pipeline.store.repository import Store

__all__ = ["require_cog", "write_cogs"]

ENDINGS = (".tif", ".tiff")
FIRST = ("class", "mean")
"""Arrays whose file has the name that was given; others add theirs to it."""


def require_cog(out: str | Path | None) -> Path | None:
    """Check the name of a file, before anything is computed.

    Raises:
        InputError: If it is a URL, ends otherwise than a GeoTIFF, or lies inside a store.
    """
    if out is None:
        return None
    if is_url(out) or Path(out).suffix.lower() not in ENDINGS:
        raise InputError(f"{out}: a COG is a local file that ends in .tif.")
    refuse_inside_store(out)
    return Path(out)


def write_cogs(store: Store, kind: str, out: Path) -> list[Path]:
    """Write the arrays of a map as COGs. Computes, a block at a time.

    ``class`` or ``mean`` goes to ``out``, ``probability`` to ``out`` with ``-probability`` before
    its ending, a band for each class, and so on. Classes have their colours as a colour table,
    their values and names as tags ``CLASS_VALUE=NAME``; packed arrays have GDAL's scale. A file
    that was there stays until the new one is whole.

    Raises:
        InputError: If a file cannot be written.
    """
    root, written = store.group(kind=kind), []
    for name in sorted(name for name, array in root.arrays() if is_on_grid(array)):
        path = out if name in FIRST else out.with_name(f"{out.stem}-{name}{out.suffix}")
        batch = one_cog(path, root, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary_folder(f".{out.stem}-part", path.parent.absolute()) as aside:
                for _ in batch.write(batch.cogs, aside):
                    pass
        except (OSError, RasterioError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"Cannot write {path}: {reason}.") from error
        written.append(path)
    return written
