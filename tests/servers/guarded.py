"""Files that are not for everybody: an object store and a giver of tokens, in a real process.

It serves the files below a folder with range requests, and writes down who asked for which:

- ``GET /tokens/ACCOUNT/CONTAINER`` gives a token that ends after ``--seconds``, as Planetary
  Computer does;
- a file of another host, for which this is the proxy (``GET http://HOST/...``), needs such a token
  in its query;
- any other file needs the header of a request that was signed with the key ``KEY``, as S3 does.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import uvicorn
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Receive, Scope, Send

from terralatent.catalogs.documents.range_files import RangeFiles
from tests.waiting import WITHIN_S

KEY = "KEYOFMINE"


@dataclass(frozen=True)
class Guarded:
    """A running server."""

    url: str
    log: Path

    @property
    def asked(self) -> list[dict[str, Any]]:
        """What was asked for, in order: ``what``, ``token``, ``key``, ``payer``."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def guarded(folder: Path, log: Path, *, seconds: float = 3600.0) -> Iterator[Guarded]:
    """Serve ``folder`` while the context lasts."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        log.touch()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.guarded", str(folder), str(log), str(seconds),
             str(listening.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            cwd=Path(__file__).resolve().parents[2],
        )  # fmt: skip
        try:
            yield Guarded(f"http://127.0.0.1:{listening.getsockname()[1]}", log)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(WITHIN_S)


class _Guard:
    def __init__(self, folder: str, log: str, seconds: float) -> None:
        self._files = RangeFiles(folder)
        self._log = Path(log)
        self._seconds = seconds
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = scope["query_string"].decode()
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        foreign = re.match(r"http://([^/]+)(/.*)", scope["path"])
        key = re.search(r"AWS4-HMAC-SHA256 Credential=(\w+)/", headers.get("authorization", ""))
        told = {
            "what": scope["path"],
            "token": query,
            "key": key[1] if key else "",
            "payer": headers.get("x-amz-request-payer", ""),
        }
        with self._log.open("a") as log:
            log.write(json.dumps(told) + "\n")
        if scope["path"].startswith("/tokens/"):
            ends = datetime.now(UTC) + timedelta(seconds=self._seconds)
            token = f"se=later&sp=r&sig={next(self._numbers)}"
            answer: Any = JSONResponse({"token": token, "msft:expiry": ends.isoformat()})
        elif foreign and "sig=" in query:
            answer = self._files
            scope = {**scope, "path": foreign[2]}
        elif not foreign and told["key"] == KEY:
            answer = self._files
        else:
            answer = PlainTextResponse("Not for you.", 403)
        await answer(scope, receive, send)


def _serve() -> None:
    parser = argparse.ArgumentParser()
    for name, kind in (("folder", str), ("log", str), ("seconds", float), ("descriptor", int)):
        parser.add_argument(name, type=kind)
    given = parser.parse_args()
    config = uvicorn.Config(
        _Guard(given.folder, given.log, given.seconds), access_log=False, log_level="warning",
        lifespan="off", ws="none",
    )  # fmt: skip
    server = uvicorn.Server(config)

    def stop_with_parent() -> None:
        sys.stdin.buffer.read()
        server.should_exit = server.force_exit = True

    threading.Thread(target=stop_with_parent, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=given.descriptor)])


if __name__ == "__main__":
    _serve()
