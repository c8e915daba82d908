"""Where a store lies, a local path or an s3://, gs:// or az:// URL, and its one writer's lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import icechunk

from terralatent.catalogs.errors import InputError

__all__ = ["is_url", "local_path", "open_storage", "writer_lock"]


def is_url(store: str | Path) -> bool:
    """Whether ``store`` is an object-store URL rather than a local path."""
    return "://" in str(store)


def local_path(store: str | Path) -> Path | None:
    """The absolute local path of ``store`` with ``~`` resolved, None for a URL."""
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
        # Icechunk warns that local commits must not race; the writer's lock sees to that.
        icechunk.set_logs_filter("error")
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


@contextmanager
def writer_lock(store: str | Path) -> Iterator[None]:
    """Be the one writer of ``store`` for the time of a ``with`` block.

    Local stores only: in an object store the commit itself refuses the second writer. The lock is
    a hidden file beside the store (Icechunk wants a store's folder for itself); it ends with the
    process, however that ends.

    Raises:
        InputError: If another process is writing, or ``store`` is a file.
    """
    path = local_path(store)
    if path is None:
        yield
        return
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; a store is a folder. Choose another --out.")
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name}.lock"
    lock = _locked(name, path)
    try:
        yield
    finally:
        name.unlink(missing_ok=True)
        os.close(lock)


def _locked(name: Path, store: Path) -> int:
    """Lock the file ``name`` and return its descriptor."""
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 100).decode() or "another process"
            os.close(lock)
            raise InputError(
                f"{store} is being written by {holder}; wait until it ends, or end it."
            ) from error
        # The last writer may have removed the file between our opening and locking it.
        if name.exists() and os.fstat(lock).st_ino == name.stat().st_ino:
            os.truncate(lock, 0)
            os.pwrite(lock, f"process {os.getpid()}".encode(), 0)
            return lock
        os.close(lock)
