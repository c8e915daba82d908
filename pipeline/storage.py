"""Where a store lies: a local path, or an s3://, gs:// or az:// URL."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import icechunk

from terralatent.catalogs.errors import InputError

__all__ = ["is_url", "local_path", "open_storage"]


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
    """Describe where an Icechunk repository lies; reads nothing, but makes a local folder.

    Credentials of object stores come from the environment, as their own tools take them
    (``AWS_*`` with ``AWS_ENDPOINT_URL``, ``GOOGLE_*``, ``AZURE_STORAGE_ACCOUNT_NAME`` and others).

    Raises:
        InputError: If the URL has a scheme other than s3, gs or az, or names no bucket.
    """
    path = local_path(store)
    if path is not None:
        # Icechunk warns that local commits must not race; the writer's lock sees to that. What it
        # says of errors comes as exceptions too.
        icechunk.set_logs_filter("off")
        return icechunk.local_filesystem_storage(str(path))
    url = urlsplit(str(store))
    prefix = url.path.strip("/")
    if not url.netloc or not prefix:
        raise InputError(f"{store}: a store's URL names a bucket and a path, as s3://bucket/cube.")
    if url.scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return icechunk.s3_storage(
            bucket=url.netloc,
            prefix=prefix,
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
            endpoint_url=endpoint,
            allow_http=bool(endpoint) and str(endpoint).startswith("http://"),
            force_path_style=endpoint is not None,
            from_env=True,
        )
    if url.scheme == "gs":
        return icechunk.gcs_storage(bucket=url.netloc, prefix=prefix, from_env=True)
    if url.scheme == "az":
        account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
        if not account:
            raise InputError(f"{store}: set AZURE_STORAGE_ACCOUNT_NAME to the storage account.")
        return icechunk.azure_storage(
            account=account, container=url.netloc, prefix=prefix, from_env=True
        )
    raise InputError(
        f"{store}: cannot write to {url.scheme}://; use a path, s3://, gs:// or az://."
    )
