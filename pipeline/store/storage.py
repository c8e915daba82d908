"""Where a store lies: a local path, or an s3://, gs:// or az:// URL."""

from __future__ import annotations

from pathlib import Path

import icechunk

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.location import Place, reach

__all__ = ["is_url", "local_path", "open_storage", "settings"]

TRIES, SLOWEST_MS = 8, 5_000
"""How often Icechunk sends a request that fails, and the longest pause between two tries."""


def is_url(store: str | Path) -> bool:
    """Whether ``store`` is an object-store URL rather than a local path."""
    return "://" in str(store)


def local_path(store: str | Path) -> Path | None:
    """The absolute local path of ``store`` with ``~`` resolved, None for a URL.

    Raises:
        InputError: If it is empty, which would be the current folder.
    """
    if not str(store).strip():
        raise InputError("The path of a store is empty; give one.")
    return None if is_url(store) else Path(store).expanduser().absolute()


def open_storage(store: str | Path) -> icechunk.Storage:
    """Describe where an Icechunk repository lies; makes a local folder.

    Credentials of object stores come from the environment, as their own tools take them
    (``AWS_*`` with ``AWS_ENDPOINT_URL``, ``GOOGLE_*``, ``AZURE_STORAGE_ACCOUNT_NAME`` and others);
    what is handed to workers holds none, each takes its own. A process asks an object store first
    whether it answers, see :func:`terralatent.pipeline.store.location.reach`: Icechunk itself
    tries for half a minute where nobody listens, and for ever where nobody speaks.

    Raises:
        InputError: If the URL has a scheme other than s3, gs or az, or names no bucket or no path,
            or if the object store cannot be used.
    """
    # What Icechunk says of errors comes as exceptions too. Its warning that local commits must not
    # race is answered by the writer's lock.
    icechunk.set_logs_filter("off")
    path = local_path(store)
    if path is not None:
        return icechunk.local_filesystem_storage(str(path))
    place = Place.of(str(store))
    reach(str(store))
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
        allow_http=(place.endpoint or "").startswith("http://"),
        force_path_style=place.endpoint is not None,
        from_env=True,
    )


def settings() -> icechunk.RepositoryConfig:
    """How a repository is opened: requests that fail are sent again for half a minute at most."""
    retries = icechunk.StorageRetriesSettings(max_tries=TRIES, max_backoff_ms=SLOWEST_MS)
    return icechunk.RepositoryConfig(storage=icechunk.StorageSettings(retries=retries))
