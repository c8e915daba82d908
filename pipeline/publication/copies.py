"""The data inside a catalogue, copied from the store; one function for each format."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import zarr
import zarr_cm

from terralatent.catalogs.publication.product import Data, Product
from terralatent.pipeline.export.zarr import consolidate, export_zarr
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.publication.lineage import Lineage
from terralatent.pipeline.store.conventions import CONVENTIONS
from terralatent.pipeline.store.digests import seal, unseal

__all__ = ["COPIES", "ICECHUNK", "ZARR", "Copy", "copy_name"]

ZARR = "application/vnd.zarr; version=3"
ICECHUNK = "application/vnd.zarr+icechunk"
"""None is registered for Icechunk; this one keeps readers of plain Zarr from trying."""

Copy = Callable[[Lineage, Product, Path, str, Progress | None], tuple[Data, ...]]
"""Copies a store's data into a folder, the collection's, and gives the product's assets with their
hrefs; the URL is where the catalogue will be served, empty where that is not known."""


def copy_name(product: Product) -> str:
    """What a copy of this state of a store is called, without an ending."""
    return f"{product.id}-{(product.snapshot or product.digest)[:12]}"


def copy_zarr(
    lineage: Lineage, product: Product, folder: Path, url: str, progress: Progress | None
) -> tuple[Data, ...]:
    """Plain Zarr with consolidated metadata; with a URL it also links to its item."""
    target = folder / f"{copy_name(product)}.zarr"
    if not target.exists():
        export_zarr(lineage.store, target, at=lineage.snapshot or None, progress=progress)
    if url:
        _link_back(target, f"{url.rstrip('/')}/{product.id}/collection.json")
    href = f"./{target.name}"
    return tuple(replace(data, href=href, media_type=ZARR) for data in product.data)


def _link_back(target: Path, href: str) -> None:
    """Have the copy name its collection, by the ``stac:`` convention of Zarr."""
    root = zarr.open_group(str(target), mode="r+", use_consolidated=False)
    attrs = root.attrs.asdict()
    link = zarr_cm.stac.create(link={"href": href, "rel": "collection", "type": "application/json"})
    if attrs.get("stac:link") == link["stac:link"]:
        return
    kept = [entry for entry in attrs.get(CONVENTIONS, ()) if entry.get("uuid") != zarr_cm.stac.UUID]
    unseal(target)
    root.update_attributes({**link, CONVENTIONS: [*kept, dict(zarr_cm.stac.CMO)]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        consolidate(target, ["", *(name for name, _ in root.groups())])
    seal(target, all_files=True)


COPIES: Mapping[str, Copy] = MappingProxyType({"zarr": copy_zarr})
"""By the name of ``copy=``."""
