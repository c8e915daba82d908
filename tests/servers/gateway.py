"""A Dask Gateway on loopback that starts clusters as processes of this machine."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.commands.processes import ROOT
from tests.waiting import until

MODULES = ("dask_gateway", "dask_gateway_server", "sqlalchemy")
DASK = [sys.executable, "-m", "dask"]
WORKER = [*DASK, "worker"]


def missing() -> str | None:
    """What a test lacks to start it, and what to type; None if it is all there."""
    absent = [name for name in MODULES if importlib.util.find_spec(name) is None]
    return f"there is no {', '.join(absent)}; say make test-gateway" if absent else None


@contextmanager
def gateway(
    folder: Path, variables: Mapping[str, str] | None = None, **configured: object
) -> Iterator[str]:
    """Run a gateway for the time of a ``with`` block; yields its address.

    Args:
        folder: Of its configuration and log.
        variables: Of its workers.
        configured: More of what a cluster is, such as ``scheduler_cmd``.
    """
    public, private = (f"127.0.0.1:{_free_port()}" for _ in range(2))
    cluster = {
        "worker_cores": 1,
        "worker_memory": "1 G",
        "scheduler_cmd": [*DASK, "scheduler"],
        "worker_cmd": WORKER,
        **configured,
    }
    lines = [
        "c.DaskGateway.backend_class = 'dask_gateway_server.backends.local.UnsafeLocalBackend'",
        "c.DaskGateway.authenticator_class = 'dask_gateway_server.auth.SimpleAuthenticator'",
        f"c.DaskGateway.address = {private!r}",
        f"c.Proxy.address = {public!r}",
        "c.LocalBackend.inherited_environment = list(__import__('os').environ)",
        *(f"c.ClusterConfig.{name} = {value!r}" for name, value in cluster.items()),
    ]
    (folder / "gateway.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "dask_gateway_server", "-f", str(folder / "gateway.py")]
    with (
        (folder / "gateway.log").open("wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            cwd=ROOT, env={**os.environ, **(variables or {})},
        ) as process,
    ):  # fmt: skip
        try:
            address = f"http://{public}"
            until(lambda: _answers(address), "the gateway")
            yield address
        finally:
            process.terminate()


def clusters(address: str) -> list[str]:
    """Names of the clusters that run or are about to."""
    from dask_gateway import Gateway

    async def listed() -> list[str]:
        async with Gateway(address, asynchronous=True) as client:
            return [cluster.name for cluster in await client.list_clusters()]

    return asyncio.run(listed())


def _answers(address: str) -> bool:
    with suppress(urllib.error.URLError, ConnectionError):
        return urllib.request.urlopen(f"{address}/api/health", timeout=5).status == 200
    return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
