"""Static catalogues: folders, documents that link to each other, item collections, GeoParquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import rustac

from terralatent.catalogs.documents import api_io, read_document
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import absolute_href, is_remote

__all__ = ["read_parquet", "walk"]

_AT_ONCE = 8
"""Documents asked for at once over HTTP."""


def walk(where: str, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[dict[str, Any]]:
    """Give every item of a static catalogue, hrefs of its assets made absolute.

    Args:
        where: A folder (its ``catalog.json`` or ``collection.json``, else every item in the JSON
            files below it), a STAC document (catalogue, collection, item, item collection), or a
            ``.parquet`` file. A path or a URL.
        wanted: Told the id of a collection, says whether to go in.

    Raises:
        InputError: If a document cannot be read, or if there is no STAC.
    """
    if where.endswith(".parquet"):
        yield from read_parquet(where)
        return
    io = api_io()
    for start in _starts(where):
        document = read_document(start, io)
        yield from _below(document, start, wanted, lambda href: read_document(href, io), {start})


def read_parquet(where: str) -> Iterator[dict[str, Any]]:
    """Give every item of a stac-geoparquet file, a path or a URL.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        content = rustac.read_sync(where, format="parquet")
    except Exception as error:  # rustac has no class of its own for most of them
        raise InputError(f"The file {where} cannot be read as stac-geoparquet: {error}.") from error
    for item in content["features"]:
        if isinstance(item.get("bbox"), tuple):
            item["bbox"] = list(item["bbox"])
        yield _with_absolute_hrefs(item, where)


def _starts(where: str) -> list[str]:
    folder = Path(where)
    if is_remote(where) or not folder.is_dir():
        return [where]
    for name in ("catalog.json", "collection.json"):
        if (folder / name).is_file():
            return [str(folder / name)]
    found = sorted(str(path) for path in folder.rglob("*.json"))
    if not found:
        raise InputError(
            f"The folder {where} holds no catalog.json, no collection.json and no item as JSON."
        )
    return found


def _below(
    document: dict[str, Any],
    href: str,
    wanted: Callable[[str], bool],
    read: Callable[[str], dict[str, Any]],
    seen: set[str],
) -> Iterator[dict[str, Any]]:
    kind = document.get("type")
    if kind == "Feature":
        yield _with_absolute_hrefs(document, href)
    elif kind == "FeatureCollection":
        for item in document.get("features") or ():
            if isinstance(item, dict):
                yield _with_absolute_hrefs(item, href)
    elif kind in ("Catalog", "Collection"):
        if kind == "Collection" and not wanted(str(document.get("id"))):
            return
        links = [
            absolute_href(str(link.get("href")), href)
            for rel in ("item", "items", "child")
            for link in document.get("links") or ()
            if isinstance(link, dict) and link.get("rel") == rel
        ]
        new = [link for link in dict.fromkeys(links) if link not in seen]
        seen.update(new)
        for link, content in _read_all(new, read):
            yield from _below(content, link, wanted, read, seen)
    else:
        raise InputError(f"The document {href} is of the type {kind!r}, not STAC.")


def _read_all(
    hrefs: list[str], read: Callable[[str], dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read documents in order, several at once where they come over HTTP."""
    if not any(is_remote(href) for href in hrefs):
        for href in hrefs:
            yield href, read(href)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from zip(hrefs, pool.map(read, hrefs), strict=True)


def _with_absolute_hrefs(item: dict[str, Any], base: str) -> dict[str, Any]:
    assets = item.get("assets")
    if isinstance(assets, dict):
        for asset in assets.values():
            if isinstance(asset, dict) and isinstance(asset.get("href"), str):
                asset["href"] = absolute_href(asset["href"], base)
    return item
