"""A host in trouble: files over HTTP by a real process that answers some requests badly.

Which request suffers what is drawn from a seed, the file, the range and how often that was asked
for, so that it depends on no order. The host gives tokens as Planetary Computer does, at
``/tokens/ACCOUNT/CONTAINER``; files of another host, for which it is the proxy, need one. And it
counts: what was asked for, how it was answered, how many requests were open then.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.waiting import WITHIN_S

QUICK = {"GDAL_HTTP_TIMEOUT": 120, "GDAL_HTTP_RETRY_DELAY": 0.05}
"""GDAL's settings for readers that are to ask again soon, once they have an answer."""

IMPATIENT = {**QUICK, "GDAL_HTTP_TIMEOUT": 1}
"""And for those that are to give up what comes late. A busy machine is late too, which must cost
them nothing but requests: where requests are counted, nobody is impatient."""

QUICK_WAIT_S = 0.05
"""What such readers wait before they try a file again."""


@dataclass(frozen=True)
class Trouble:
    """What a host does to requests."""

    seed: int = 0

    busy: float = 0.0
    """Share of requests that is answered with 503."""

    cut: float = 0.0
    """Share of requests that gets half of what it should, and is cut off."""

    late: float = 0.0
    """Share of requests that is answered after :attr:`wait`."""

    reset: float = 0.0
    """Share of requests whose connection is reset."""

    wait: float = 0.0
    """Seconds."""

    slow: float = 0.0
    """Seconds that each request takes."""

    always: Mapping[str, str] = field(default_factory=dict)
    """What each request suffers for files whose path holds a text: a status or one of the above."""

    first: int = 1_000_000
    """To how many requests of each file that happens."""

    spared: int = 0
    """Before it, so many requests of each file are answered well."""

    after: str = ""
    """``Retry-After`` of answers of 429 and 503."""

    told: float = 3600.0
    """Seconds that a token is said to be good for."""

    good: float = 3600.0
    """Seconds that it is."""


@dataclass(frozen=True)
class Faulty:
    """A running host."""

    url: str
    log: Path

    @property
    def asked(self) -> list[dict[str, Any]]:
        """Each request in order: ``what``, ``method``, ``range``, ``answer``, ``open``, ``at``."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def arrange(self) -> dict[str, str]:
        """Variables by which tokens are asked of this host, and it is everybody's proxy."""
        return {
            "PC_SDK_SAS_URL": f"{self.url}/tokens",
            "GDAL_HTTP_PROXY": self.url.removeprefix("http://"),
        }


@contextmanager
def faulty(folder: Path, log: Path, trouble: Trouble) -> Iterator[Faulty]:
    """Serve ``folder`` while the context lasts."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        log.touch()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.faulty", str(folder), str(log),
             json.dumps(asdict(trouble)), str(listening.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            cwd=Path(__file__).resolve().parents[2],
        )  # fmt: skip
        try:
            yield Faulty(f"http://127.0.0.1:{listening.getsockname()[1]}", log)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(WITHIN_S)


def hurry(settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Let this process, a worker, read with other settings of GDAL and in another environment.

    And forget what it knew of hosts and tokens.
    """
    from planetary_computer import sas
    from planetary_computer.settings import Settings

    from terralatent.pipeline.ingest import raster as rasters
    from terralatent.pipeline.ingest import retry as retries

    retries.FIRST_WAIT_S = QUICK_WAIT_S
    retries._host.cache_clear()
    rasters.GDAL_OPTIONS.update(settings)  # type: ignore[attr-defined]
    os.environ.update(environment)
    Settings.get.cache_clear()
    sas.TOKEN_CACHE.clear()


class _Host(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, log: Path, trouble: Trouble, descriptor: int) -> None:
        super().__init__(("127.0.0.1", 0), _Request, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=descriptor)
        self.folder, self.log, self.trouble = folder, log, trouble
        self.lock = threading.Lock()
        self.open = 0
        self.counts: Counter[str] = Counter()
        self.tokens: dict[str, float] = {}

    def begin(self, request: _Request, path: str) -> str:
        """Count a request; gives what it is to suffer."""
        wanted = f"{path} {request.command} {request.headers.get('Range')}"
        with self.lock:
            self.open += 1
            self.counts[path] += 1
            self.counts[wanted] += 1
            answer = self._draw(path, f"{wanted} {self.counts[wanted]}")
            told = {
                "what": path, "method": request.command, "range": request.headers.get("Range"),
                "answer": answer, "open": self.open, "at": time.time(),
            }  # fmt: skip
            with self.log.open("a") as log:
                log.write(json.dumps(told) + "\n")
        return answer

    def end(self) -> None:
        with self.lock:
            self.open -= 1

    def _draw(self, path: str, what: str) -> str:
        trouble = self.trouble
        for text, answer in trouble.always.items():
            if text in path:
                nth = self.counts[path] - trouble.spared
                return answer if 0 < nth <= trouble.first else ""
        drawn = hashlib.blake2b(f"{trouble.seed} {what}".encode(), digest_size=8).digest()
        share = int.from_bytes(drawn, "big") / 2**64
        for answer, size in (
            ("503", trouble.busy), ("cut", trouble.cut),
            ("late", trouble.late), ("reset", trouble.reset),
        ):  # fmt: skip
            if share < size:
                return answer
            share -= size
        return ""


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Host

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path.startswith("/tokens/"):
            self._give_token()
            return
        answer = self.server.begin(self, asked.path)
        ended = False
        try:
            if answer == "late":
                time.sleep(self.server.trouble.wait)
            time.sleep(self.server.trouble.slow)
            if asked.scheme and not self._let_in(asked.query):
                answer = "403"
            content = self._prepare(answer, asked.path)
            self.server.end()  # before the client can know
            ended = True
            self.wfile.write(content)
        except OSError:  # the client has gone
            self.close_connection = True
        finally:
            if not ended:
                self.server.end()

    def do_HEAD(self) -> None:
        self.do_GET()

    def _prepare(self, answer: str, path: str) -> bytes:
        """Make status, headers and body; set what is to become of the connection."""
        file = self.server.folder / path.lstrip("/")
        if answer == "reset":
            lingering = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
            self.connection.close()
            raise ConnectionResetError
        if answer.isdigit() or not file.is_file():
            after = self.server.trouble.after
            extra = {"Retry-After": after} if after and answer in ("429", "503") else {}
            return self._head(int(answer) if answer.isdigit() else 404, {**extra}, 0)
        content = file.read_bytes()
        status, headers, wanted = 200, {"Accept-Ranges": "bytes"}, self.headers.get("Range")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            size, status = len(content), 206
            content = content[int(first) : int(last or size) + 1]
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{size}"
        head = self._head(status, headers, len(content))
        if self.command == "HEAD":
            return head
        if answer == "cut":
            self.close_connection = True
            content = content[: len(content) // 2]
        return head + content

    def _head(self, status: int, headers: Mapping[str, str], length: int) -> bytes:
        lines = [f"HTTP/1.1 {status} Answer", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def _let_in(self, query: str) -> bool:
        given = self.server.tokens.get(query)
        return given is not None and time.monotonic() - given < self.server.trouble.good

    def _give_token(self) -> None:
        with self.server.lock:
            token = f"se=later&sp=r&sig={len(self.server.tokens) + 1}"
            self.server.tokens[token] = time.monotonic()
            with self.server.log.open("a") as log:
                told = {"what": "token", "answer": "", "open": 0, "at": time.time()}
                log.write(json.dumps(told) + "\n")
        ends = datetime.now(UTC) + timedelta(seconds=self.server.trouble.told)
        body = json.dumps({"token": token, "msft:expiry": ends.isoformat()}).encode()
        self.wfile.write(self._head(200, {"Content-Type": "application/json"}, len(body)) + body)

    def log_message(self, *_: object) -> None:
        pass


def _serve(folder: str, log: str, trouble: str, descriptor: str) -> None:
    host = _Host(Path(folder), Path(log), Trouble(**json.loads(trouble)), int(descriptor))

    def stop_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)  # requests that are late still sleep

    threading.Thread(target=stop_with_parent, daemon=True).start()
    host.serve_forever()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
