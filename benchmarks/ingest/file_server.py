"""A file server in a process of its own, that answers late and logs its requests.

It serves the files below a folder with range requests, as object stores do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import Message, Receive, Scope, Send

from terralatent.catalogs.documents.range_files import RangeFiles

__all__ = ["Answer", "Counted", "counted"]


@dataclass(frozen=True)
class Answer:
    """What one request got."""

    path: str
    """Of the URL."""

    method: str
    """GET or HEAD."""

    status: int
    """Of HTTP."""

    first: int
    """First byte of the file that was sent."""

    size: int
    """Bytes that were sent."""


@dataclass(frozen=True)
class Counted:
    """A running server."""

    url: str
    """Its root."""

    log: Path
    """Where it logs its requests."""

    def answers(self) -> list[Answer]:
        """What every request since :meth:`forget` got, in order."""
        return [Answer(**json.loads(line)) for line in self.log.read_text().splitlines()]

    def forget(self) -> None:
        """Count from here on. No request may be under way."""
        with self.log.open("w"):
            pass


@contextmanager
def counted(folder: Path, log: Path, *, latency: float = 0.0) -> Iterator[Counted]:
    """Serve ``folder`` while the context lasts; each answer is ``latency`` seconds late."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        log.touch()
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ingest.file_server", str(folder.resolve()),
             str(log.resolve()), str(latency), str(listening.fileno())],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
        )  # fmt: skip
        try:
            yield Counted(f"http://127.0.0.1:{listening.getsockname()[1]}", log)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)


class _Counting:
    def __init__(self, folder: str, log: str, latency: float) -> None:
        self._files = RangeFiles(folder)
        self._log = log
        self._latency = latency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: dict[str, Any] = {"path": scope["path"], "method": scope["method"], "status": 0,
                                  "first": 0, "size": 0}  # fmt: skip

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
                range_sent = dict(message["headers"]).get(b"content-range", b"bytes 0-").decode()
                answer["first"] = int(range_sent.removeprefix("bytes ").partition("-")[0])
            else:
                answer["size"] += len(message.get("body", b""))
            await send(message)

        await asyncio.sleep(self._latency)
        await self._files(scope, receive, counting)
        with open(self._log, "a") as log:  # opened anew: forgetting empties the file
            log.write(json.dumps(answer) + "\n")


def _serve() -> None:
    parser = argparse.ArgumentParser()
    for name, kind in (("folder", str), ("log", str), ("latency", float), ("descriptor", int)):
        parser.add_argument(name, type=kind)
    given = parser.parse_args()
    config = uvicorn.Config(
        _Counting(given.folder, given.log, given.latency), access_log=False, log_level="warning",
        lifespan="off", ws="none", timeout_keep_alive=75,
    )  # fmt: skip
    server = uvicorn.Server(config)

    def stop_with_parent() -> None:
        sys.stdin.buffer.read()
        server.should_exit = server.force_exit = True

    threading.Thread(target=stop_with_parent, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=given.descriptor)])


if __name__ == "__main__":
    _serve()
