"""Where files lie according to a catalogue: hrefs made absolute, and shown without secrets."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urljoin, urlsplit

from terralatent.catalogs.printable import printable

__all__ = [
    "HrefError",
    "absolute_href",
    "bare_href",
    "is_remote",
    "scheme_of",
    "without_secrets",
    "without_user",
]

_REMOTE = ("http", "https", "s3")
"""Schemes of what is read from elsewhere."""

_LONGEST = 200
"""Characters of an href that a message shows."""

_USER = re.compile(r"(?<=://)[^/?#\s]*@")

_NAMED = re.compile(
    r"""(?ix) ( [\w-]* (?: token | secret | passw | signature | credential | (?:api|access|
    subscription)[-_]?key ) [\w-]* (?: = | ['"]\s*:\s* ) ['"]?
    | \b authorization ['"]?\s*[:=]\s*['"]? (?: \w+\s+ )? ) [^\s'",;&]+"""
)
"""A value whose name says that it is secret."""


class HrefError(ValueError):
    """An href that is missing or that points where no catalogue may point."""


def scheme_of(href: str) -> str:
    """Return what stands before the first colon of a URL, in lower case; empty for a path.

    >>> scheme_of("HTTPS://host/a.tif"), scheme_of("zip+s3://b!a"), scheme_of("/data/a:b.tif")
    ('https', 'zip+s3', '')
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+._-]*):", href)
    return match[1].lower() if match else ""


def is_remote(href: str) -> bool:
    """Return whether ``href`` is a URL of http(s) or of an object store, not a local path."""
    return scheme_of(href) in _REMOTE


def absolute_href(href: str, base: str) -> str:
    """Resolve ``href`` against ``base``, the href of the document that holds it. Refuses nothing.

    A user, a password and the query of ``base`` are not handed on.

    >>> absolute_href("./B02.tif", "https://host/items/one.json?key=secret")
    'https://host/items/B02.tif'
    >>> absolute_href("../B02.tif", "/data/items/one.json")
    '/data/B02.tif'
    """
    scheme = scheme_of(href)
    try:
        if scheme == "file":
            parts = urlsplit(href)
            return unquote(parts.path) if parts.netloc in ("", "localhost") else href
        if scheme:
            return href
        if is_remote(base):
            outer = scheme_of(base)
            # urljoin knows no object stores; they resolve as http does.
            plain = bare_href(base, longest=None)
            joined = urljoin(f"http{plain[len(outer) :]}", href)
            return joined.replace("http", outer, 1)
        return os.path.realpath(os.path.join(os.path.dirname(base), href))
    except ValueError:  # brackets that hold no address, null bytes: no place, to be refused as such
        return href


def bare_href(href: str, *, longest: int | None = _LONGEST) -> str:
    """Return ``href`` for a message: without user, password, query and fragment, on one line.

    >>> bare_href("https://me:secret@host/v1/a.tif?sig=secret")
    'https://host/v1/a.tif'
    """
    if "://" in href or href.startswith("/vsi"):
        href = re.split(r"[?#]", _USER.sub("", href), maxsplit=1)[0]
    href = printable(href)
    return href if longest is None or len(href) <= longest else f"{href[:longest]}..."


def without_user(url: str) -> str:
    """Return ``url`` without the user and password that it may hold."""
    return _USER.sub("", url, count=1)


def without_secrets(text: str) -> str:
    """Cut out of a text what may hold keys: users, queries and fragments of URLs, named secrets.

    For every text that is shown or stored and that others had a part in, such as errors.

    >>> without_secrets("'/vsicurl/https://host/a.tif?sig=abc': not found; with url: /v1?key=b")
    "'/vsicurl/https://host/a.tif': not found; with url: /v1"
    >>> without_secrets('{"token": "abc", "wait": 5}')
    '{"token": "...", "wait": 5}'
    """
    return _NAMED.sub(r"\1...", re.sub(r"\S+", lambda word: _bare_word(word[0]), text))


def _bare_word(word: str) -> str:
    """A word of a text; where a URL stands in it, all that follows its path may be a secret."""
    word = _USER.sub("", word)
    url = word.find("://")
    cut = re.search(r"\?(?=.*=)", word) if url < 0 else re.compile("[?#]").search(word, url)
    if cut is None:
        return word
    rest = word[cut.start() :]
    closing = rest[len(rest.rstrip(")]}>.,;:!'\"")) :]
    return word[: cut.start()] + closing
