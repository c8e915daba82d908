"""STAC documents by href, local or over HTTP, and what is said when one does not come."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pystac
from pystac_client import Client
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from urllib3.util import Retry

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import is_remote

__all__ = ["api_io", "failures", "open_api", "read_document", "status_of"]

_NO_STAC = (
    *(ClientTypeError, pystac.STACError, pystac.STACTypeError),
    *(KeyError, TypeError, AttributeError),
)
"""What the STAC libraries raise for JSON of another kind."""

_TIMEOUT = (5.0, 60.0)
"""Seconds to connect, and seconds without an answer."""


def api_io() -> StacApiIO:
    """Return a session that tries again where an API is busy, and gives up where none listens."""
    retry = Retry(
        total=5,
        connect=1,
        read=1,
        backoff_factor=0.5,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=None,
        respect_retry_after_header=True,
        raise_on_status=False,
    )
    return StacApiIO(timeout=_TIMEOUT, max_retries=retry)


def open_api(where: str) -> Client:
    """Open the STAC API or catalogue at the URL ``where``."""
    # Client.open overwrites the session's timeout with its own, which is none by default.
    return Client.open(where, stac_io=api_io(), timeout=_TIMEOUT)


@contextmanager
def failures(name: str) -> Iterator[None]:
    """Turn what a broken or absent API makes of ``name`` raise into one clear line.

    Raises:
        InputError: If the source does not answer, answers with an error, or with no STAC.
    """
    try:
        yield
    except APIError as error:
        status = status_of(error)
        if status is None:
            raise InputError(
                f"The source {name} does not answer ({_why(str(error))}); "
                "check the address and the network."
            ) from error
        raise InputError(
            f"The source {name} answers with the error {status} ({_short(str(error))}); "
            "try again later or check the address."
        ) from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"The source {name} answers with {_short(error.doc)!r}, which is no JSON; a STAC API "
            "or document was wanted. Check the address."
        ) from error
    except _NO_STAC as error:
        raise InputError(
            f"The source {name} answers with something other than STAC "
            f"({type(error).__name__}: {_short(str(error))}); check the address."
        ) from error


def status_of(error: APIError) -> int | None:
    """Return the HTTP status that an API answered with; None where it did not answer."""
    return getattr(error, "status_code", None)


def read_document(href: str, io: StacApiIO) -> dict[str, Any]:
    """Read one STAC document, which must be a JSON object.

    Raises:
        InputError: If it cannot be read or is no JSON object.
    """
    if is_remote(href):
        with failures(href):
            text = io.read_text(href)
            content = json.loads(text)
    else:
        try:
            content = json.loads(Path(href).read_bytes())
        except OSError as error:
            raise InputError(f"The document {href} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise InputError(f"The document {href} is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"The document {href} holds a {type(content).__name__}, not STAC.")
    return content


def _why(text: str) -> str:
    """The innermost reason in what a chain of HTTP libraries says of a failed connection."""
    match = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(timed out)", text)
    return _short(text) if match is None else (match[1] or match[2])


def _short(text: str, most: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}..."
