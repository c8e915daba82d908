"""A map as cloud-optimised GeoTIFFs: a file for each array, which any GIS opens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError

from terralatent.catalogs.enclosing_store import refuse_inside_store
from terralatent.catalogs.errors import InputError
from terralatent.pipeline.landcover.legend import Legend
from terralatent.pipeline.region import blocks, grid_of
from terralatent.pipeline.store.location import is_url
from terralatent.pipeline.store.repository import ABOUT, Store

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
    root = store.group(kind=kind)
    written = []
    for name, array in sorted(root.arrays()):
        if (array.metadata.dimension_names or ())[-2:] == ("y", "x"):
            path = out if name in FIRST else out.with_name(f"{out.stem}-{name}{out.suffix}")
            _write_cog(root, name, path)
            written.append(path)
    return written


def _write_cog(root: Any, name: str, out: Path) -> None:
    array, grid = root[name], grid_of(root)
    attrs: Mapping[str, Any] = array.attrs.asdict()
    bands = 1 if array.ndim == 2 else array.shape[0]
    profile = {
        "driver": "GTiff", "height": grid.shape[0], "width": grid.shape[1], "count": bands,
        "dtype": str(array.dtype), "crs": str(grid.crs), "transform": grid.affine,
        "nodata": attrs.get("_FillValue", np.nan), "tiled": True, "blockxsize": 256,
        "blockysize": 256, "compress": "deflate", "interleave": "band", "bigtiff": "if_safer",
    }  # fmt: skip
    plain, aside = (out.with_name(f".{out.stem}.{os.getpid()}{end}") for end in (".plain", ".cog"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(plain, "w", **profile) as file:
            file.update_tags(long_name=attrs["long_name"])
            _describe(file, name, root, attrs)
            for block in blocks(
                (grid.shape[0], grid.shape[1]), root.attrs[ABOUT]["identity"]["block"]
            ):
                values = np.asarray(array[..., block.y, block.x])
                window = ((block.y.start, block.y.stop), (block.x.start, block.x.stop))
                file.write(values.reshape(bands, *block.shape), window=window)
        # Between two classes there is no third: overviews show what most pixels are.
        resampling = "mode" if name == "class" else "average"
        rasterio.shutil.copy(
            plain, aside, driver="COG", compress="deflate", overview_resampling=resampling,
            predictor="no" if name == "class" else "yes",
        )  # fmt: skip
        os.replace(aside, out)
    except (OSError, RasterioError) as error:
        raise InputError(
            f"Cannot write {out}: {getattr(error, 'strerror', 0) or error}."
        ) from error
    finally:
        for path in (plain, aside):
            with suppress(OSError):
                path.unlink()


def _describe(file: Any, name: str, root: Any, attrs: Mapping[str, Any]) -> None:
    if "units" in attrs:
        file.units = (attrs["units"],) * file.count
    if "scale_factor" in attrs:
        file.scales = (attrs["scale_factor"],) * file.count
    if name == "class":
        legend = Legend.from_attrs(attrs)
        file.write_colormap(1, {0: (0, 0, 0, 0), **_table(legend)})
        file.colorinterp = [ColorInterp.palette]
        tags = {
            f"CLASS_{value}": text for value, text in zip(legend.values, legend.names, strict=True)
        }
        file.update_tags(**tags)
    elif file.count > 1:
        names = [str(text) for text in np.asarray(root["category"][...])]
        for band, text in enumerate(names, start=1):
            file.set_band_description(band, text)


def _table(legend: Legend) -> dict[int, tuple[int, ...]]:
    return {
        value: (*bytes.fromhex(colour[1:]), 255)
        for value, colour in zip(legend.values, legend.colours, strict=True)
    }
