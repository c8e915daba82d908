"""STAC documents by href, local or over HTTP, and the error when one does not come."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pystac
from pystac_client import Client
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests.auth import AuthBase, HTTPBasicAuth
from requests.models import PreparedRequest

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.documents.patience import (
    TIMEOUT_S,
    Bounded,
    UnboundedError,
    document,
)
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import (
    HrefError,
    bare_href,
    is_remote,
    without_secrets,
    without_user,
)
from terralatent.catalogs.text_files import read_text

__all__ = ["Documents", "failures", "open_api", "read_document", "status_of", "why"]

_NO_STAC = (
    *(ClientTypeError, pystac.STACError, pystac.STACTypeError),
    *(KeyError, TypeError, AttributeError, RecursionError),
)
"""What the STAC libraries raise for JSON of another kind."""


class Documents(StacApiIO):
    """A session that reads the documents of one source, and only what that source may name.

    Tries again where an API is busy, and gives up where none listens, where a document has no end
    in time or in size (:mod:`terralatent.catalogs.documents.patience`), or where it leads to what
    may not be read. Redirects are held to that as well.

    Args:
        where: The source, as a user names it. A user and a password in its URL are for its own
            host; links and redirects to others go without.
        access: What may be read; by default what :meth:`Access.of` grants to ``where``.
    """

    def __init__(self, where: str, access: Access | None = None) -> None:
        super().__init__(timeout=TIMEOUT_S, max_retries=None)
        self.access = access or Access.of(where)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, Bounded(self.access))
        self.session.auth = _OwnHost(where, self.access)

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """Read what an href or a link leads to: over HTTP only, never a file."""
        href = str(source.to_dict()["href"] if isinstance(source, pystac.Link) else source)
        if not is_remote(href):
            raise HrefError(f"{bare_href(href)!r} may not be read: it is no URL")
        return super().read_text(source, *args, **kwargs)

    def fetch(self, href: str, into: Path) -> None:
        """Copy what ``href`` leads to into a file.

        Raises:
            requests.RequestException: If it does not come whole.
            HrefError: If it may not be read.
            UnboundedError: If it takes too long or is too large.
        """
        with (
            document(to_disk=True),
            self.session.get(href, stream=True, timeout=self.timeout) as answer,
        ):
            answer.raise_for_status()
            with into.open("wb") as file:
                for part in answer.iter_content():
                    file.write(part)

    def request(self, href: str, method: str | None = None, *args: Any, **kwargs: Any) -> str:
        """Request a document; a link may use no other method than GET and POST."""
        if (method or "GET").upper() not in ("GET", "POST"):
            raise HrefError(
                f"{bare_href(href)!r} may not be requested by {method}, only by GET or POST"
            )
        with document():
            return super().request(href, method, *args, **kwargs).removeprefix("\ufeff")


class _OwnHost(AuthBase):
    """The user and password of a URL, for requests to its own host."""

    def __init__(self, where: str, access: Access) -> None:
        parts = urlsplit(where) if is_remote(where) else urlsplit("")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        self._basic = HTTPBasicAuth(user, password) if user else None
        self._access = access

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if self._basic is not None and self._access.is_own(request.url or ""):
            return self._basic(request)
        return request


def open_api(where: str, access: Access | None = None) -> Client | None:
    """Open the STAC API or catalogue at the URL ``where``; None where it holds items itself."""
    documents = Documents(where, access)
    content = documents.read_json(without_user(where))
    if isinstance(content, dict) and content.get("type") in ("Feature", "FeatureCollection"):
        return None
    # Client.open overwrites the session's timeout with its own, which is none by default.
    return Client.open(without_user(where), stac_io=documents, timeout=TIMEOUT_S)


@contextmanager
def failures(name: str) -> Iterator[None]:
    """Turn what a broken or absent API makes of ``name`` raise into one clear line.

    Raises:
        InputError: If the source does not answer, answers with an error, with no STAC, or leads
            where it may not.
    """
    try:
        yield
    except HrefError as error:
        raise InputError(f"The source {name} is refused: {error}.") from error
    except UnboundedError as error:
        raise InputError(f"The source {name} is given up: {error}.") from error
    except APIError as error:
        if isinstance(error.__context__, HrefError):
            raise InputError(f"The source {name} is refused: {error.__context__}.") from error
        if isinstance(error.__context__, UnboundedError):
            raise InputError(f"The source {name} is given up: {error.__context__}.") from error
        status = status_of(error)
        if status is None:
            raise InputError(
                f"The source {name} does not answer ({why(error)}); "
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


def read_document(href: str, documents: Documents) -> dict[str, Any]:
    """Read one STAC document, which must be a JSON object.

    Raises:
        InputError: If it may not or cannot be read, or is no JSON object.
    """
    name = bare_href(href)
    if is_remote(href):
        with failures(name):
            text = documents.read_text(href)
            content = json.loads(text)
    else:
        try:
            file = Path(documents.access.check(href))
            if file.exists() and not file.is_file():
                raise InputError(f"The document {name} is no file.")
            content = json.loads(read_text(file))
        except HrefError as error:
            raise InputError(f"The document {error}.") from error
        except OSError as error:
            raise InputError(f"The document {name} cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"The document {name} is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"The document {name} holds a {type(content).__name__}, not STAC.")
    return content


def why(error: Exception) -> str:
    """Return the innermost reason in what a chain of HTTP libraries says of a failed request."""
    text = str(error)
    match = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(timed out)", text)
    return _short(text) if match is None else (match[1] or match[2])


def _short(text: str, most: int = 160) -> str:
    line = without_secrets(" ".join(text[: 10 * most].split()))
    return line if len(line) <= most else f"{line[:most]}..."
