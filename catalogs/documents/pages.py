"""The pages of a search, each once, to their end, and whether they hold what was counted.

STAC leaves much to an API: a page without items may have a next one, the next one may be the same
request with another body, and nothing bounds their number.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pystac
from pystac_client import ItemSearch

from terralatent.catalogs.documents.fetch import Documents
from terralatent.catalogs.errors import InputError

__all__ = ["listed_items"]

_LOG = logging.getLogger(__name__)

MOST_ITEMS = 200_000
"""Of one search: twenty years of a region that a hundred scenes cover."""

MOST_EMPTY, FEW_EMPTY = 100, 3
"""Pages without items, one after the other; and after as many items as were counted."""


def listed_items(name: str, search: ItemSearch, documents: Documents) -> Iterator[object]:
    """Yield whatever an API lists as an item, page by page.

    Warns where they are fewer than the API counted.

    Args:
        name: What messages call the API.
        search: The request.
        documents: How its pages are fetched.

    Raises:
        InputError: If a page repeats, or if they have no end.
        Exception: What ``documents`` raises.
    """
    parameters = search.get_parameters()
    seen: set[str] = {_key(search.url, search.method, parameters)}
    pages: set[str] = set()
    items, empty, counted = 0, 0, None
    page = documents.read_json(search.url, method=search.method, parameters=parameters)
    while True:
        features = page.get("features")
        features = features if isinstance(features, list) else []
        counted = _counted(page) if counted is None else counted
        items += len(features)
        empty = 0 if features else empty + 1
        if features and not _is_new(_page_key(features), pages):
            raise _endless(name, items, counted, "a page repeats one that came before")
        yield from features
        link = _next(page)
        is_all = counted is not None and items >= counted
        if link is None or (is_all and empty > FEW_EMPTY):
            break
        if items > MOST_ITEMS:
            raise _endless(name, items, counted, f"it lists more than {MOST_ITEMS:,} items")
        if empty > MOST_EMPTY:
            raise _endless(name, items, counted, f"{empty} pages in a row hold no item")
        body = {**parameters, **link.get("body", {})} if link.get("merge") else link.get("body")
        if not _is_new(_key(str(link.get("href")), link.get("method"), body), seen):
            raise _endless(name, items, counted, "its next page repeats one that came before")
        page = documents.read_json(pystac.Link.from_dict(link), parameters=parameters)
    if counted is not None and items < counted:
        _LOG.warning(
            "%s gave %d of %d items that it counted, and no link to others: search a shorter "
            "period, or ask whoever runs it",
            name,
            items,
            counted,
        )


def _endless(name: str, items: int, counted: int | None, why: str) -> InputError:
    of = "" if counted is None else f" of {counted}"
    return InputError(
        f"The pages of {name} have no end: {why}, after {items}{of} items. Search a smaller region "
        "or a shorter period, or ask whoever runs it."
    )


def _is_new(key: str, seen: set[str]) -> bool:
    before = len(seen)
    seen.add(key)
    return len(seen) > before


def _key(href: str, method: object, body: object) -> str:
    """What makes a request the same as another one."""
    way = str(method or "GET").upper()
    return json.dumps([href, way, body if way == "POST" else None], sort_keys=True, default=str)


def _page_key(features: list[Any]) -> str:
    content = json.dumps(features, sort_keys=True, default=str)
    return hashlib.sha256(content.encode(errors="replace")).hexdigest()


def _next(page: Mapping[str, Any]) -> dict[str, Any] | None:
    links = page.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "next":
            return link
    return None


def _counted(page: Mapping[str, Any]) -> int | None:
    """How many items an API says there are; None where it does not."""
    context = page.get("context")
    stated = page.get(
        "numberMatched", context.get("matched") if isinstance(context, dict) else None
    )
    return stated if isinstance(stated, int) and stated >= 0 else None
