"""Who may connect to a cluster that is started here: nobody but its own processes.

Whoever reaches a scheduler or a worker of Dask can run code there, and on a machine of many users
everybody reaches what listens on its loopback. So scheduler, workers and client know each other by
a certificate of this process alone, made for one cluster. Dask's web pages ask for no key: by
default they are not there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from distributed import Security

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.temporary import temporary_folder
from terralatent.pipeline.dashboard import serves_pages

__all__ = [
    "LOOPBACK",
    "SAFE_PATH",
    "job_prologue",
    "own_keys",
    "pages_settings",
    "scheduler_options",
    "shared_folder",
    "warn_of_open_address",
    "worker_flags",
]

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1:0"
"""Where they listen then."""

SAFE_PATH: Mapping[str, str] = {"PYTHONSAFEPATH": "1"}
"""Keeps Python from running files of the current folder that are called as modules are."""

_warned: set[str] = set()


def own_keys() -> Security:
    """Keys and a certificate of one cluster, in this process's memory alone.

    Made by :mod:`cryptography`; TLS with mutual authentication, see
    https://distributed.dask.org/en/stable/tls.html.
    """
    return Security.temporary()


def pages_settings() -> dict[str, Any]:
    """Dask's settings for a cluster that is started: no web pages, unless they were asked for."""
    if serves_pages():
        return {}
    return {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}


def scheduler_options() -> dict[str, Any]:
    """What a scheduler of Dask's takes for its web pages."""
    if serves_pages():
        log.warning(
            "every user of this machine can read Dask's web pages: what runs, where, and on what"
        )
    return {"dashboard": serves_pages()}


def worker_flags() -> list[str]:
    """The same for the command line of a worker that is started elsewhere."""
    return ["--dashboard-address", LOOPBACK, *([] if serves_pages() else ["--no-dashboard"])]


def job_prologue() -> list[str]:
    """Lines of a shell that a job runs before its worker."""
    routes = [] if serves_pages() else ["export DASK_DISTRIBUTED__WORKER__HTTP__ROUTES='[]'"]
    return [*(f"export {name}={value}" for name, value in SAFE_PATH.items()), *routes]


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder for the keys of one cluster that its jobs read too, gone when it ends.

    Below the home folder, which machines of a cluster share, and open to its user alone.

    Raises:
        InputError: If it cannot be made.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "terralatent"
    with ExitStack() as stack:
        try:
            base.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(temporary_folder("keys-", base))
        except OSError as error:
            raise InputError(
                f"The keys of a cluster cannot be kept in {base}: {error.strerror}. Set "
                "XDG_CACHE_HOME to a folder of yours that the machines of the cluster share."
            ) from error
        yield folder


def warn_of_open_address(address: str) -> None:
    """Warn, once for each address, of a scheduler that asks for no keys."""
    if address.startswith(("tcp://", "ws://")) and address not in _warned:
        _warned.add(address)
        log.warning(
            "%s asks for no keys: whoever reaches that port, on the same machine too, can run code "
            "as you; start schedulers with TLS where others may be",
            address,
        )
