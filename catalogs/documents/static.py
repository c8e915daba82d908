"""Static catalogues: folders, documents that link to each other, item collections, GeoParquet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import rustac

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.documents.fetch import Documents, read_document, why
from terralatent.catalogs.documents.patience import MOST_FILE_BYTES, UnboundedError
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import (
    HrefError,
    absolute_href,
    bare_href,
    is_remote,
    without_user,
)
from terralatent.catalogs.temporary import temporary_folder

__all__ = ["is_parquet", "read_parquet", "walk", "with_absolute_hrefs"]

_LOG = logging.getLogger(__name__)

_AT_ONCE = 8
"""Documents requested at once over HTTP."""

_DEEPEST = 32
"""Documents below each other: a catalogue that goes on has no end."""

_BELOW = ("item", "items", "child")
"""Relations of links to what a catalogue or collection holds."""

MOST_DOCUMENTS = 500_000
"""Of one catalogue: nor has one that grows as it is read."""

MOST_ROWS = 500_000
"""Items of one Parquet file."""


def walk(
    where: str,
    wanted: Callable[[str], bool] = lambda _: True,
    access: Access | None = None,
) -> Iterator[dict[str, Any]]:
    """Give every item of a static catalogue, hrefs of its assets made absolute.

    Args:
        where: A folder (its ``catalog.json`` or ``collection.json``, else every item in the JSON
            files below it), a STAC document (catalogue, collection, item, item collection), or a
            ``.parquet`` file. A path or a URL.
        wanted: Called with the id of a collection, returns whether to go in.
        access: What documents may be read; by default what :meth:`Access.of` grants to ``where``.

    Raises:
        InputError: If a document cannot be read, if one links to what may not be read, or if there
            is no STAC.
    """
    if is_parquet(where):
        yield from read_parquet(where, access)
        return
    documents = Documents(where, access)
    for start in _starts(where):
        below = _Walk(documents, wanted, {start})
        yield from below.items(read_document(start, documents), start, 0)


def is_parquet(where: str) -> bool:
    """Return whether ``where``, a path or a URL, is that of a stac-geoparquet file."""
    return (urlsplit(where).path if is_remote(where) else where).endswith(".parquet")


def read_parquet(where: str, access: Access | None = None) -> Iterator[dict[str, Any]]:
    """Give every item of a stac-geoparquet file, a path or a URL.

    Raises:
        InputError: If it cannot be read.
    """
    name = bare_href(where)
    with temporary_folder("terralatent-search-") as aside:
        file = where
        try:
            if is_remote(where):  # fetched by ourselves: rustac would follow it anywhere
                file = str(Path(aside, "items.parquet"))
                Documents(where, access).fetch(without_user(where), Path(file))
            _require_bounded(file)
            content = rustac.read_sync(file, format="parquet")
        except (HrefError, UnboundedError) as error:
            raise InputError(f"The file {name} cannot be read: {error}.") from error
        except OSError as error:  # those of requests are some
            raise InputError(f"The file {name} cannot be read: {why(error)}.") from error
        except Exception as error:  # rustac has no class of its own for most of them
            raise InputError(
                f"The file {name} cannot be read as stac-geoparquet: {error}."
            ) from error
    for item in content["features"]:
        if isinstance(item.get("bbox"), tuple):
            item["bbox"] = list(item["bbox"])
        yield with_absolute_hrefs(item, where)


def _require_bounded(file: str) -> None:
    """A few bytes can claim to be any number of rows."""
    metadata = pq.read_metadata(file)
    size = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
    if metadata.num_rows > MOST_ROWS or size > MOST_FILE_BYTES:
        raise UnboundedError(
            f"it holds {metadata.num_rows:,} items in {size >> 20} MiB; at most {MOST_ROWS:,} in "
            f"{MOST_FILE_BYTES >> 20} are read"
        )


def with_absolute_hrefs(item: dict[str, Any], base: str) -> dict[str, Any]:
    """Make the hrefs of an item's assets absolute, in place; what is no text stays."""
    assets = item.get("assets")
    for asset in assets.values() if isinstance(assets, dict) else ():
        href = asset.get("href") if isinstance(asset, dict) else None
        if isinstance(href, str) and href:
            asset["href"] = absolute_href(href, base)
    return item


def _starts(where: str) -> list[str]:
    if is_remote(where):
        return [without_user(where)]
    folder = Path(where).absolute()
    if not folder.is_dir():
        return [str(folder)]
    for name in ("catalog.json", "collection.json"):
        if (folder / name).is_file():
            return [str(folder / name)]
    items = sorted(str(path) for path in folder.rglob("*.json"))
    if not items:
        raise InputError(
            f"The folder {where} holds no catalog.json, no collection.json and no item as JSON."
        )
    return items


class _Walk:
    """A walk through documents that link to each other; each is read once."""

    def __init__(self, documents: Documents, wanted: Callable[[str], bool], seen: set[str]) -> None:
        self._documents = documents
        self._wanted = wanted
        self._seen = seen

    def items(self, document: dict[str, Any], href: str, depth: int) -> Iterator[dict[str, Any]]:
        """Give the items of a document, and of those that it links to."""
        kind = document.get("type")
        if kind == "Feature":
            yield with_absolute_hrefs(document, href)
        elif kind == "FeatureCollection":
            yield from self._pages(document, href)
        elif kind in ("Catalog", "Collection"):
            if kind == "Collection" and not self._wanted(str(document.get("id"))):
                return
            if depth == _DEEPEST:
                raise InputError(
                    f"The document {bare_href(href)} lies {depth} documents below the first."
                )
            new = [link for link in self._links(document, href, *_BELOW) if link not in self._seen]
            self._seen.update(new)
            if len(self._seen) > MOST_DOCUMENTS:
                raise InputError(f"The catalogue has more than {MOST_DOCUMENTS:,} documents.")
            for link, content in self._read(new):
                yield from self.items(content, link, depth + 1)
        else:
            raise InputError(f"The document {bare_href(href)} is of the type {kind!r}, not STAC.")

    def _pages(self, document: dict[str, Any], href: str) -> Iterator[dict[str, Any]]:
        """Give the items of a document and of those that go on with it."""
        while True:
            yield from _features(document, href)
            links = self._links(document, href, "next")
            if not links:
                return
            if links[0] in self._seen:
                raise InputError(
                    f"The document {bare_href(href)} has a next page that came before; its pages "
                    "have no end."
                )
            self._seen.add(links[0])
            ((href, document),) = self._read(links[:1])

    def _links(self, document: dict[str, Any], href: str, *rels: str) -> list[str]:
        """Where a document leads by links of some relations; each may be read."""
        links = document.get("links")
        hrefs = [
            absolute_href(str(link.get("href")), href)
            for rel in rels
            for link in (links if isinstance(links, list) else ())
            if isinstance(link, dict) and link.get("rel") == rel
        ]
        for link in dict.fromkeys(hrefs):
            try:
                self._documents.access.check(link)
            except HrefError as error:
                raise InputError(f"The document {bare_href(href)} has a link: {error}.") from error
        return list(dict.fromkeys(hrefs))

    def _read(self, hrefs: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Read documents in order, several at once where they come over HTTP."""
        if not any(is_remote(href) for href in hrefs):
            for href in hrefs:
                yield href, read_document(href, self._documents)
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            contents = pool.map(lambda href: read_document(href, self._documents), hrefs)
            yield from zip(hrefs, contents, strict=True)


def _features(document: dict[str, Any], href: str) -> Iterator[dict[str, Any]]:
    features = document.get("features")
    for item in features if isinstance(features, list) else ():
        if isinstance(item, dict):
            yield with_absolute_hrefs(item, href)
        else:
            _LOG.warning("%s lists a %s as an item", bare_href(href), type(item).__name__)
