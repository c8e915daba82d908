"""Where a store lies: a local path, or an s3://, gs:// or az:// URL; and the way to it.

Icechunk reads and writes repositories by itself. It gives no conditional write of a single object,
which the writer's lock needs, no plain Zarr, and no answer for minutes where an endpoint is silent.
obstore gives all three for S3, Google Cloud Storage and Azure alike, and credentials come from the
same variables of the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, urlsplit

import icechunk

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import bare_href
from terralatent.pipeline.store.library_errors import trouble_of

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

__all__ = [
    "Location",
    "Place",
    "is_url",
    "locate",
    "open_objects",
    "open_storage",
    "reach",
    "translated_object_errors",
]

ANSWER_S, RETRIES = 10, 2
"""How long a request may take, and how often it is sent again."""

KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_KEY, or another of Azure's AZURE_* credentials",
}
"""Variables that hold credentials, for each scheme."""


@dataclass(frozen=True)
class Place:
    """Where a store lies in an object store."""

    scheme: str
    """``s3``, ``gs`` or ``az``."""

    bucket: str
    """The bucket; of Azure the container."""

    path: str
    """Key prefix within the bucket, without slashes at its ends."""

    @classmethod
    def of(cls, url: str) -> Place:
        """Read a URL such as ``s3://bucket/cube``.

        Raises:
            InputError: If it has another scheme, names no bucket or no path, or has a blank, or a
                user, a query or a fragment, which may be secrets.
        """
        shown = bare_href(url)
        if not re.fullmatch(r"[^?#\s]*", url) or "@" in url.split("://")[-1].split("/")[0]:
            raise InputError(
                f"{shown}: a store's URL has no blank, user, query or fragment; credentials come "
                "from the environment."
            )
        parts = urlsplit(url)
        if parts.scheme not in KEYS:
            raise InputError(
                f"{shown}: cannot write to {parts.scheme}://; use a path, s3://, gs:// or az://."
            )
        if not parts.netloc or not parts.path.strip("/"):
            raise InputError(
                f"{shown}: a store's URL names a bucket and a path, as s3://bucket/cube."
            )
        return cls(parts.scheme, parts.netloc, parts.path.strip("/"))

    @property
    def beside(self) -> str:
        """Key of the writer's lock: beside the store, whose own prefix is Icechunk's alone."""
        parent, _, name = self.path.rpartition("/")
        return f"{parent}/.{name}.lock" if parent else f".{name}.lock"

    @property
    def endpoint(self) -> str | None:
        """URL of an S3 server that is not Amazon's, from the environment."""
        named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return (named or None) if self.scheme == "s3" else None

    @property
    def allows_http(self) -> bool:
        """Whether that server is asked without encryption."""
        return (self.endpoint or "").startswith("http://")

    @property
    def region(self) -> str:
        """The bucket's region, from the environment.

        Raises:
            InputError: If it is not set; only servers that are not Amazon's do without.
        """
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if region or self.endpoint:
            return region or "us-east-1"
        raise InputError(
            f"{self}: set AWS_REGION to the region of the bucket, such as eu-central-1."
        )

    @property
    def account(self) -> str:
        """The storage account of Azure, from the environment.

        Raises:
            InputError: If it is not set.
        """
        if account := os.environ.get("AZURE_STORAGE_ACCOUNT_NAME"):
            return account
        raise InputError(f"{self}: set AZURE_STORAGE_ACCOUNT_NAME to the storage account.")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.path}"


Location: TypeAlias = Path | Place
"""Where a store lies: an absolute local path, or a place in an object store."""


def locate(store: str | Path) -> Location:
    """Parse a local path, in which ``~`` is resolved, or a URL.

    Raises:
        InputError: If the path is empty, which would be the current folder, or if the URL is none
            of a store, see :meth:`Place.of`.
    """
    if not str(store).strip():
        raise InputError("The path of a store is empty; give one.")
    if is_url(store):
        return Place.of(str(store))
    return Path(store).expanduser().absolute()


def is_url(store: str | Path) -> bool:
    """Whether ``store`` is an object-store URL rather than a local path."""
    return "://" in str(store)


def open_objects(place: Place, prefix: str = "") -> ObjectStore:
    """A client for the objects of a bucket, below ``prefix``; asks nothing yet.

    A request that gets no answer ends within half a minute, tries included.

    Raises:
        InputError: If the environment does not say what is needed to find the bucket.
    """
    from obstore.store import from_url

    options: dict[str, Any] = {}
    if place.scheme == "s3":
        options = {"region": place.region}
        options |= {"endpoint": place.endpoint} if place.endpoint else {}
    elif place.scheme == "az":
        options = {"account_name": place.account}
    client: ClientConfig = {
        "timeout": timedelta(seconds=ANSWER_S),
        "connect_timeout": timedelta(seconds=ANSWER_S / 2),
        "allow_http": place.allows_http,
    }
    retry: RetryConfig = {
        "max_retries": RETRIES,
        "retry_timeout": timedelta(seconds=2 * ANSWER_S),
        "backoff": {
            "init_backoff": timedelta(milliseconds=200),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }
    return from_url(
        f"{place.scheme}://{place.bucket}/{quote(prefix)}",
        client_options=client,
        retry_config=retry,
        **options,
    )


@lru_cache(maxsize=256)
def reach(place: Place) -> None:
    """Ask an object store once whether a store's place can be read; whether one is there is open.

    Raises:
        InputError: If nothing can be read there: no such bucket, no or wrong credentials, an
            endpoint that does not answer.
    """
    import obstore

    first = "zarr.json" if place.path.endswith(".zarr") else "refs/branch.main/ref.json"
    with translated_object_errors(place):
        try:
            obstore.get(open_objects(place), f"{place.path}/{first}")
        except FileNotFoundError as error:
            if trouble_of(error) is not None:
                raise


def open_storage(location: Location) -> icechunk.Storage:
    """Describe where an Icechunk repository lies; makes a local folder.

    Credentials of object stores come from the environment, as their own tools take them
    (``AWS_*`` with ``AWS_ENDPOINT_URL``, ``GOOGLE_*``, ``AZURE_STORAGE_ACCOUNT_NAME`` and others);
    what is handed to workers holds none, each takes its own. A process asks an object store first
    whether it answers, see :func:`reach`: Icechunk itself tries for half a minute where nobody
    listens, and for ever where nobody speaks.

    Raises:
        InputError: If the object store cannot be used.
    """
    # What Icechunk says of errors comes as exceptions too. Its warning that local commits must not
    # race is answered by the writer's lock.
    icechunk.set_logs_filter("off")
    if isinstance(location, Path):
        return icechunk.local_filesystem_storage(str(location))
    place = location
    reach(place)
    if place.scheme == "gs":
        return icechunk.gcs_storage(bucket=place.bucket, prefix=place.path, from_env=True)
    if place.scheme == "az":
        return icechunk.azure_storage(
            account=place.account, container=place.bucket, prefix=place.path, from_env=True
        )
    return icechunk.s3_storage(
        bucket=place.bucket,
        prefix=place.path,
        region=place.region,
        endpoint_url=place.endpoint,
        allow_http=place.allows_http,
        force_path_style=place.endpoint is not None,
        from_env=True,
    )


@contextmanager
def translated_object_errors(place: Place) -> Iterator[None]:
    """Turn what an object store, or the way to it, raises into one clear line.

    What the store said is not handed on, even as a cause: it repeats the id of the key.

    Raises:
        InputError: If the block raised an error of obstore.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except InputError:
        raise
    except (BaseError, FileNotFoundError) as error:
        first = str(error).splitlines()[0].partition(": Error performing")[0]
        trouble = trouble_of(error, KEYS[place.scheme], place.endpoint or "its object store")
        raise InputError(f"{place} {trouble or f'cannot be used: {bare_href(first)}'}.") from None
    except ValueError as error:  # a variable of the environment that is none
        raise InputError(f"{place} cannot be used: {bare_href(str(error))}.") from None
