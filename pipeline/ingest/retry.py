"""A file of another host that does not come: what is worth another try, when, and when to stop.

GDAL tries single requests again by itself, those that end in a 5xx, a timeout or a broken
connection (:data:`terralatent.pipeline.ingest.raster.GDAL_OPTIONS` says how often). Measured with
GDAL 3.10: it takes no notice of ``Retry-After``, a range that is cut short fails the file, a token
that ended stays in its URL, and where a GET was refused its error does not say the status. Here a
whole file is tried again, its server is asked what the matter is, and a host that does not answer
at all is not waited for by file after file.
"""

from __future__ import annotations

import random
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from statistics import median
from time import monotonic, sleep
from typing import TypeVar
from urllib.parse import urlsplit

import requests

# Not offered: GDAL's errors as rasterio chains them, which alone say what a bucket answered.
from rasterio._err import (
    CPLE_AWSAccessDeniedError,
    CPLE_AWSBucketNotFoundError,
    CPLE_AWSInvalidCredentialsError,
    CPLE_AWSObjectNotFoundError,
    CPLE_AWSSignatureDoesNotMatchError,
    CPLE_BaseError,
)
from rasterio.errors import RasterioError
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from terralatent.catalogs.documents.relay import UNREACHED
from terralatent.catalogs.hrefs import is_remote
from terralatent.catalogs.sources.signing import Readable, forget_token

__all__ = ["GaveUpError", "Host", "host_of", "persist"]

T = TypeVar("T")

TRIES = 6
"""How often a file is tried whose server is there, but in trouble."""

TRIES_OF_NO_RASTER = 2
"""How often a file is tried that came, and is none: most likely it always will be."""

NEW_TOKENS = 2
"""How often a file is tried with a fresh token after it was refused."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0
"""Before the second try, and before any: who asks for more patience by ``Retry-After`` is left."""

PATIENCE_S = 300.0
"""No try of a file begins later than this after its first."""

SLOW_S, SLOW_TRIES = 15.0, 2
"""A try that failed after so long, of a server that answers at once when it is asked, was too slow;
how often a file is tried that is. GDAL ends what comes with less than a kilobyte a second."""

SLOW_FOR_S = 600.0
"""How long this process then leaves the file alone: each of its windows would wait as long."""

RECENT, KNOWN = 64, 8
"""Files of a host by which it is known what one takes, the latest, and how many have to be."""

LEAST_REQUEST_S, TIMES_LONGER = 20.0, 20.0
"""What one request may take once that is known: so many times what a whole file does."""

DOWN_AFTER = 16
"""Tries of a host that failed in a row, of whatever files: from then on one try is enough."""

ASK_S = (5.0, 10.0)
"""Seconds to connect and to answer, where a server is asked what the matter is."""

FAULTS = (RasterioError, CPLE_BaseError)
"""What GDAL's errors become."""

_REFUSED = (
    CPLE_AWSAccessDeniedError,
    CPLE_AWSBucketNotFoundError,
    CPLE_AWSInvalidCredentialsError,
    CPLE_AWSObjectNotFoundError,
    CPLE_AWSSignatureDoesNotMatchError,
)
"""What a bucket says for good, without the status."""

_STATUS = re.compile(r"HTTP (?:response|error) code ?: ?(\d{3})")

_NO_RASTER = "not recognized as being in a supported file format"


class GaveUpError(OSError):
    """A file did not come; says why, how often it was tried, and what its server answers."""


class Host:
    """One host, as the threads of this process know it."""

    def __init__(self, at_once: int | None) -> None:
        """Take the number of files that may be open ``at_once``; None: any."""
        self.slot: AbstractContextManager[object] = (
            nullcontext() if at_once is None else threading.BoundedSemaphore(at_once)
        )
        self._failed = 0
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._slow: dict[str, tuple[float, str]] = {}

    @property
    def request_s(self) -> float | None:
        """Seconds that one request may take; None while too little is known of the host.

        One file that drips would hold up those that are read with it for minutes. On a slow line
        all of them take long, and nothing is given up.
        """
        if len(self._seconds) < KNOWN:
            return None
        return max(LEAST_REQUEST_S, TIMES_LONGER * median(self._seconds))

    def took(self, seconds: float) -> None:
        """Take note of how long a file took that came."""
        self._seconds.append(seconds)

    def leave_alone(self, name: str, reason: str) -> None:
        """Take note of a file that comes too slowly."""
        self._slow[name] = monotonic(), reason

    def require_not_slow(self, name: str) -> None:
        """Give up a file at once that came too slowly a while ago.

        Raises:
            GaveUpError: If it did.
        """
        since, reason = self._slow.get(name, (0.0, ""))
        if reason and monotonic() - since < SLOW_FOR_S:
            raise GaveUpError(reason)

    @property
    def is_down(self) -> bool:
        """Whether nothing came of it for long."""
        return self._failed >= DOWN_AFTER

    def answered(self, well: bool) -> None:
        """Take note that something came, or that a try failed."""
        self._failed = 0 if well else self._failed + 1


def host_of(href: str, at_once: int | None) -> Host | None:
    """Return the host of a URL, the same for all threads; None for a file of this machine."""
    return _host(urlsplit(href).netloc.lower(), at_once) if is_remote(href) else None


@cache
def _host(name: str, at_once: int | None) -> Host:
    return Host(at_once)


def persist(
    host: Host | None,
    name: str,
    opened: Callable[[], Readable],
    read: Callable[[Readable, bool], T],
) -> T:
    """Read a file, again where that may help. Sleeps between tries, and holds no slot then.

    Args:
        host: Of the file; None: it is tried once.
        name: By which its host knows the file.
        opened: Says how to open it now. What it raises is not tried again.
        read: Opens and reads it, and given whether it is the first try. Its faults are tried again
            where they may pass, others never.

    Raises:
        GaveUpError: If the fault remained.
        Exception: What ``opened`` or ``read`` raised.
    """
    if host is None:
        return read(opened(), True)
    tries = _Tries(host, name)
    while True:
        host.require_not_slow(name)
        with host.slot:
            now = opened()
            begun = monotonic()
            try:
                result = read(now, tries.is_first)
            except FAULTS as error:
                wait = tries.wait(error, now, monotonic() - begun)
            else:
                host.answered(well=True)
                host.took(monotonic() - begun)
                return result
        sleep(wait)


@dataclass(frozen=True)
class _Answer:
    """What a server says of a file."""

    status: int | None = None
    """Of HTTP; None where it does not answer, or was not asked."""

    after: float | None = None
    """Seconds after which it wants to be asked again."""

    why: str = ""
    """Why it was not reached, where the proxy says so."""

    @property
    def refuses(self) -> bool:
        return self.status in (401, 403)

    @property
    def may_pass(self) -> bool:
        changed = self.status == 412
        return self.status is None or self.status < 400 or self.in_trouble or changed

    @property
    def in_trouble(self) -> bool:
        return self.status in (408, 425, 429) or (self.status is not None and self.status >= 500)


class _Tries:
    """The tries of one file."""

    def __init__(self, host: Host, name: str) -> None:
        self._host, self._name = host, name
        self._count = self._refused = self._slow = 0
        self._begun = monotonic()

    @property
    def is_first(self) -> bool:
        """Whether none has failed."""
        return self._count == 0

    def wait(self, error: Exception, now: Readable, took: float) -> float:
        """Take note of a try that failed after some seconds; gives those until the next.

        Raises:
            GaveUpError: If there is to be none.
        """
        self._count += 1
        answer = _answer(error, now)
        if answer.refuses:
            self._refused += 1
            if forget_token(now) and self._refused <= NEW_TOKENS:
                return 0.0
            raise self._over(error, answer) from error
        self._host.answered(well=not (answer.status is None or answer.in_trouble))
        self._slow += _came(answer) and took >= SLOW_S
        if self._slow >= SLOW_TRIES:
            reason = f"it comes too slowly: {took:.0f} s were not enough, {self._count} times"
            self._host.leave_alone(self._name, reason)
            raise GaveUpError(reason) from error
        wait = self._backoff(answer)
        late = monotonic() - self._begun + wait > PATIENCE_S
        most = TRIES_OF_NO_RASTER if _came(answer) and _NO_RASTER in str(error) else TRIES
        if (
            not answer.may_pass
            or self._count >= most
            or self._host.is_down
            or wait > LONGEST_WAIT_S
            or late
        ):
            raise self._over(error, answer) from error
        return wait

    def _backoff(self, answer: _Answer) -> float:
        """What is asked for; else twice as long each time, unless the server is well again.

        Between half of it and all, because the files that failed together come again together.
        """
        if answer.after is not None:
            return answer.after + random.uniform(0.0, FIRST_WAIT_S)
        doubled = 1 if _came(answer) else 2 ** (self._count - 1)
        return min(FIRST_WAIT_S * doubled, LONGEST_WAIT_S) * random.uniform(0.5, 1.0)

    def _over(self, error: Exception, answer: _Answer) -> GaveUpError:
        reasons = [answer.why or str(error).rstrip()]
        if answer.status is not None and f"{answer.status}" not in reasons[0] and not _came(answer):
            reasons.append(f"its server answers {answer.status}")
        if answer.after is not None:
            reasons.append(f"its server asks to wait {answer.after:.0f} s")
        if self._count > 1:
            reasons.append(f"tried {self._count} times")
        return GaveUpError("; ".join(reasons))


def _came(answer: _Answer) -> bool:
    return answer.status is not None and answer.status < 400


def _answer(error: Exception, now: Readable) -> _Answer:
    """What the server of a file says, by GDAL's error if that is clear, else by asking it."""
    if any(isinstance(cause, _REFUSED) for cause in _chain(error)):
        return _Answer(403)
    status = next(filter(None, (_STATUS.search(str(cause)) for cause in _chain(error))), None)
    answer = _Answer(int(status[1]) if status else None)
    if answer.may_pass and now.href.startswith(("http://", "https://")):
        return _ask(now)
    return answer


def _ask(now: Readable) -> _Answer:
    """Ask for one byte of a file, by GDAL's way, to learn what GDAL keeps for itself."""
    try:
        with requests.get(
            now.href,
            headers={"Range": "bytes=0-0"},
            timeout=ASK_S,
            stream=True,  # some send the whole file
            allow_redirects=False,  # whoever it leads to, the host itself is well
            proxies=_proxies(now.options),
        ) as response:
            status = response.status_code
            if status == UNREACHED:
                return _Answer(why=response.reason)
            return _Answer(status, _after(response) if status >= 400 else None)
    except (OSError, HTTPError, ValueError):
        return _Answer()


def _proxies(options: Mapping[str, str]) -> dict[str, str] | None:
    """The proxy of GDAL's settings for a file."""
    address = options.get("GDAL_HTTP_PROXY")
    if address is None:
        return None
    proxy = address.replace("://", f"://{options['GDAL_HTTP_PROXYUSERPWD']}@")
    return {"http": proxy, "https": proxy}


def _after(response: requests.Response) -> float | None:
    try:
        return Retry().get_retry_after(response.raw)
    except (HTTPError, ValueError):  # neither seconds nor a date
        return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
