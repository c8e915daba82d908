"""Where an item's files lie: hrefs made absolute, and those refused that no catalogue needs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

__all__ = ["HrefError", "absolute_href", "check_href", "is_remote"]

_REMOTE = ("http", "https", "s3", "gs", "az", "abfs", "abfss")


class HrefError(ValueError):
    """An href that is missing or that points where no catalogue may point."""


def is_remote(href: str) -> bool:
    """Tell whether ``href`` is a URL of http(s) or of an object store, not a local path."""
    return urlsplit(href).scheme.lower() in _REMOTE


def absolute_href(href: str, base: str) -> str:
    """Resolve ``href`` against ``base``, the href of the document that holds it.

    >>> absolute_href("./B02.tif", "https://host/items/one.json")
    'https://host/items/B02.tif'
    >>> absolute_href("../B02.tif", "/data/items/one.json")
    '/data/B02.tif'
    """
    if is_remote(href):
        return href
    if urlsplit(href).scheme.lower() == "file":
        return unquote(urlsplit(href).path)
    if is_remote(base):
        scheme = urlsplit(base).scheme
        # urljoin knows no object stores; they resolve as http does.
        joined = urljoin(base.replace(scheme, "http", 1), href)
        return joined.replace("http", scheme, 1)
    if href.startswith("/"):
        return href
    return str((Path(base).parent / href).resolve())


def check_href(href: object) -> None:
    """Refuse hrefs of GDAL's virtual files, which read what no catalogue names.

    Raises:
        HrefError: If ``href`` is not text, is empty, or is a virtual file.
    """
    if not isinstance(href, str) or not href:
        raise HrefError(f"an asset has the href {href!r}, not text")
    if href.startswith("/vsi") or not (is_remote(href) or href.startswith("/")):
        raise HrefError(f"an asset has the href {href!r}, which is neither a URL nor a file")
