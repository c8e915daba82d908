"""Tokens of Planetary Computer: fresh, requested once, and within the bounds of documents.

Which files need one, and how one is put to a URL, is for its own library to say. The request is
ours: the library's would wait for ever.
"""

from __future__ import annotations

import threading
from urllib.parse import parse_qs, urlparse, urlsplit

import requests

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.documents.patience import TIMEOUT_S, Bounded, document
from terralatent.catalogs.hrefs import bare_href

__all__ = ["drop_token", "with_token"]

_FRESH = 300.0
"""Seconds that a token must still be good for: one file is read in less."""

_PUBLIC = "ai4edatasetspublicassets.blob.core.windows.net"

_OF_TOKENS = {"st", "se", "sp"}
"""Parts of a query that a URL has which holds a token already."""

_LOCK = threading.Lock()
"""Of the threads of a process one requests a token, the others find it in the cache."""


def with_token(href: str) -> str:
    """A URL with a token, where its host needs one. May request it, which is then kept.

    Raises:
        OSError: If a token was refused, or did not come within the bounds of a document.
    """
    from planetary_computer import sas

    with _LOCK:
        for url, token in list(sas.TOKEN_CACHE.items()):
            if token.ttl() < _FRESH:
                del sas.TOKEN_CACHE[url]
        if _needs_token(href):
            _request_token(href)
        signed: str = sas.sign_url(href)
    return signed


def drop_token(signed: str) -> None:
    """Forget the token of a URL; once, however many files it was refused for."""
    from planetary_computer import sas

    with _LOCK:
        for url, token in list(sas.TOKEN_CACHE.items()):
            if signed.endswith(f"?{token.token}"):
                del sas.TOKEN_CACHE[url]


def _needs_token(href: str) -> bool:
    """Whether the library puts a token to a URL: of Azure's blobs, but for a public account."""
    from planetary_computer import sas

    parts = urlsplit(href)
    is_blob = parts.netloc.endswith(sas.BLOB_STORAGE_DOMAIN) and parts.netloc != _PUBLIC
    return is_blob and not _OF_TOKENS & parse_qs(parts.query).keys()


def _request_token(href: str) -> None:
    """Put a token for a URL where the library looks for it, unless there is one."""
    from planetary_computer import sas
    from planetary_computer.settings import Settings
    from planetary_computer.utils import parse_blob_url

    settings = Settings.get()
    where = "/".join([settings.sas_url, *parse_blob_url(urlparse(href))])
    if where in sas.TOKEN_CACHE:
        return
    key = settings.subscription_key
    headers = {"Ocp-Apim-Subscription-Key": key} if key else {}
    try:
        with requests.Session() as session, document():
            for scheme in ("http://", "https://"):
                session.mount(scheme, Bounded(Access.of(where)))
            # A redirect would take the key along.
            answer = session.get(where, headers=headers, timeout=TIMEOUT_S, allow_redirects=False)
            answer.raise_for_status()
            sas.TOKEN_CACHE[where] = sas.SASToken(**answer.json())
    except (TypeError, ValueError) as error:  # unbounded, not to be reached, or no token
        reason = str(error).splitlines()[0]
        raise OSError(f"no token of {bare_href(where)}: {reason}") from error
