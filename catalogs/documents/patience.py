"""How long a document may take, how large it may be, and which way its requests go.

Whoever answers may ask to wait for a year, send a byte a second, or a gigabyte of zeros in a
megabyte of gzip. So a document has five minutes, its redirects, waits and further tries included;
is waited for a minute at a time; and may hold so many bytes, counted after decompression.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ConnectionError
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.documents.proxy import proxy_url, refused_since
from terralatent.catalogs.documents.relay import UNREACHED

__all__ = ["MOST_FILE_BYTES", "TIMEOUT_S", "Bounded", "UnboundedError", "document"]

DEADLINE_S = 300.0
"""Of one document or file: after that no further try is begun, and no further byte taken."""

TIMEOUT_S = (5.0, 60.0)
"""To connect, and without a word."""

LONGEST_WAIT_S = 60.0
"""Who asks by ``Retry-After`` for more patience is left."""

MOST_BYTES = 256 << 20
"""Of a document, which is held in memory: 40 times the largest page that an API gives."""

MOST_FILE_BYTES = 1 << 30
"""Of a file, which is not."""

_AT_ONCE = 1 << 16

_HTTP = ("http", "https")


class UnboundedError(ValueError):
    """A document takes too long, or is too large."""


class _Document(threading.local):
    """The document that a thread fetches: what urllib3's retries know only in this way."""

    ends = inf
    most = MOST_BYTES

    def require_time(self) -> None:
        if monotonic() > self.ends:
            raise UnboundedError(f"it has not come whole within {DEADLINE_S:g} s")


_NOW = _Document()


@contextmanager
def document(*, to_disk: bool = False) -> Iterator[None]:
    """Fetch one document in a ``with`` block, in this thread; or a file, to disk."""
    _NOW.ends = monotonic() + DEADLINE_S
    _NOW.most = MOST_FILE_BYTES if to_disk else MOST_BYTES
    try:
        yield
    finally:
        _NOW.ends, _NOW.most = inf, MOST_BYTES


class Bounded(HTTPAdapter):
    """Sends requests to where ``access`` may lead, and takes no more than a document may have.

    Redirects pass here as well. What is raised besides the exceptions of :mod:`requests`:
    :class:`HrefError` where a request may not go, and :class:`UnboundedError`.
    """

    def __init__(self, access: Access) -> None:
        super().__init__(
            max_retries=_Patience(
                total=5,
                connect=1,
                read=1,
                other=1,
                backoff_factor=0.5,
                status_forcelist=(429, 502, 503, 504),
                allowed_methods=None,
                respect_retry_after_header=True,
                raise_on_status=False,
            )
        )
        self._access = access

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        self._access.check_now(request.url)
        request.headers.pop("Proxy-Authorization", None)  # of the user's proxy, after a redirect
        proxy, begun = proxy_url(self._access), monotonic()
        try:
            answer = super().send(
                request, *args, **{**kwargs, "proxies": dict.fromkeys(_HTTP, proxy)}
            )
        except ConnectionError as error:
            refused = refused_since(begun, self._access)
            raise (refused or error) from error
        _NOW.require_time()  # headers that were cut off read as whole
        if answer.status_code == UNREACHED:
            raise ConnectionError(answer.reason)
        if answer.status_code == 403 and (refused := refused_since(begun, self._access)):
            raise refused
        answer.iter_content = lambda *_, **__: _parts(answer)  # type: ignore[method-assign]
        return answer


class _Patience(Retry):
    """Waits as long as a server asks, within reason and the time of its document."""

    def get_retry_after(self, response: Any) -> float | None:
        asked = super().get_retry_after(response)
        if asked is not None and asked > LONGEST_WAIT_S:
            raise UnboundedError(
                f"it asks to wait {asked:.0f} s, and is waited for {LONGEST_WAIT_S:.0f} s at most"
            )
        return asked

    def increment(self, *args: Any, **kwargs: Any) -> _Patience:
        _NOW.require_time()
        after = super().increment(*args, **kwargs)
        if (response := kwargs.get("response")) is not None:
            response.close()  # else it would be read to its end first, whatever comes
        return after


def _parts(answer: Response) -> Iterator[bytes]:
    """The body of an answer as it comes, decompressed; of an error, its beginning."""
    size = 0
    try:
        while part := answer.raw.read1(_AT_ONCE, decode_content=True):
            size += len(part)
            if size > _NOW.most:
                raise UnboundedError(f"it holds more than {_NOW.most >> 20} MiB")
            _NOW.require_time()
            yield part
            if answer.status_code >= 400:
                answer.close()
                return
    except HTTPError as error:
        _NOW.require_time()
        raise ChunkedEncodingError(error) from error
