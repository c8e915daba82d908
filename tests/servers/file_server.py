"""Files over HTTP from a real process: with ranges, tokens and keys, and with trouble on demand.

- ``GET /tokens/ACCOUNT/CONTAINER`` gives a token, as Planetary Computer does;
- a file of another host, for which the server is the proxy (``GET http://HOST/...``), needs one in
  its query;
- any other file needs a request signed with :attr:`Trouble.key` where that is set, as in S3.

Which request meets which trouble is drawn from a seed, the file, the range and how often that was
requested, so that it depends on no order. Every request is written to a log.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
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
from urllib.parse import unquote, urlsplit

from tests.waiting import WITHIN_S

KEY = "KEYOFMINE"
"""A key for :attr:`Trouble.key`."""

QUICK = {"GDAL_HTTP_TIMEOUT": 120, "GDAL_HTTP_RETRY_DELAY": 0.05}
"""GDAL's settings for readers that are to retry soon, once they have an answer."""

IMPATIENT = {**QUICK, "GDAL_HTTP_TIMEOUT": 4}
"""And for those that are to give up what comes late. A busy machine is late too, which must cost
them nothing but requests: where requests are counted, nobody is impatient."""

QUICK_WAIT_S = 0.05
"""What such readers wait before they try a file again."""


@dataclass(frozen=True)
class Trouble:
    """What a server does to requests; by default it answers all of them well."""

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
    """The trouble of each request for files whose path holds a text: a status, or ``cut``,
    ``late`` or ``reset``, or a URL to which it is redirected."""

    first: int = 1_000_000
    """How many requests of each file meet it."""

    spared: int = 0
    """Before it, so many requests of each file are answered well."""

    after: str = ""
    """``Retry-After`` of answers of 429 and 503."""

    token_stated: float = 3600.0
    """Seconds after which a token ends, as stated with it."""

    token_lasts: float = 3600.0
    """Seconds for which it is accepted."""

    token_uses: int = 1_000_000
    """Requests after which a token ends, whatever was stated with it."""

    closes: bool = False
    """Whether each connection is for one request."""

    key: str = ""
    """Files of the server itself need requests signed with this key; empty: they are public."""


@dataclass(frozen=True)
class Request:
    """One request and its answer."""

    at: float
    """When it arrived, seconds since 1970."""

    open: int
    """How many requests were open then, it among them; 0 for tokens, which do not count."""

    method: str
    """GET or HEAD."""

    path: str
    """Of the URL."""

    range: str
    """The header; empty where the whole file is requested."""

    query: str
    """Of the URL, where tokens stand."""

    key: str
    """The key by which it was signed; empty where it was not."""

    trouble: str
    """What it met: a status, ``cut``, ``late`` or ``reset``; empty: nothing."""

    status: int
    """Of the answer; 0 where the connection was reset."""

    size: int
    """Bytes of the body that were sent."""


@dataclass(frozen=True)
class FileServer:
    """A running server."""

    url: str
    log: Path

    @property
    def requests(self) -> list[Request]:
        """The requests that were answered, in the order in which they arrived."""
        lines = self.log.read_text().splitlines()
        return sorted(
            (Request(**json.loads(line)) for line in lines), key=lambda request: request.at
        )

    def environment(self) -> dict[str, str]:
        """Variables by which this server gives the tokens and is the proxy of all hosts."""
        return {
            "PC_SDK_SAS_URL": f"{self.url}/tokens",
            "GDAL_HTTP_PROXY": self.url.removeprefix("http://"),
        }


@contextmanager
def serving_files(folder: Path, log: Path, trouble: Trouble | None = None) -> Iterator[FileServer]:
    """Serve the files below ``folder`` while the context lasts."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        log.touch()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.file_server", str(folder), str(log),
             json.dumps(asdict(trouble or Trouble())), str(listening.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            cwd=Path(__file__).resolve().parents[2],
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # A reader that loses patience soon would not wait for Python to start.
            assert process.stdout.read(1), "the file server did not start"
            yield FileServer(f"http://127.0.0.1:{listening.getsockname()[1]}", log)
        finally:
            process.stdin.close()
            process.wait(WITHIN_S)
            process.stdout.close()


def hurry(settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Let this process, a worker, read with other settings of GDAL and in another environment.

    And forget what it knew of hosts and tokens. No name leads anywhere: the proxy knows them all,
    and where no name server answers each query would take its time.
    """
    from planetary_computer import sas
    from planetary_computer.settings import Settings

    from terralatent.catalogs.documents import access
    from terralatent.pipeline.ingest import raster as rasters
    from terralatent.pipeline.ingest import retry as retries

    retries.FIRST_WAIT_S = QUICK_WAIT_S
    retries._host.cache_clear()
    rasters.GDAL_OPTIONS.update(settings)  # type: ignore[attr-defined]
    access._addresses = lambda host, minute: ()  # type: ignore[assignment]
    os.environ.update(environment)
    Settings.get.cache_clear()
    sas.TOKEN_CACHE.clear()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, log: Path, trouble: Trouble, descriptor: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=descriptor)
        self.folder, self.log, self.trouble = folder, log, trouble
        self.lock = threading.Lock()
        self.open = 0
        self.counts: Counter[str] = Counter()
        self.tokens: dict[str, float] = {}
        self.uses: Counter[str] = Counter()

    def begin(self, path: str, method: str, wanted: str | None) -> tuple[str, int]:
        """Count a request for the range ``wanted``; gives its trouble and how many are open."""
        subject = f"{path} {method} {wanted}"
        with self.lock:
            self.open += 1
            self.counts[path] += 1
            self.counts[subject] += 1
            return self._draw(path, f"{subject} {self.counts[subject]}"), self.open

    def end(self, request: Request) -> None:
        """Write down a request for a file, which is open no longer."""
        with self.lock:
            self.open -= 1
            self._write(request)

    def give_token(self, request: Request) -> str:
        """Make a token, and write down the request for it."""
        with self.lock:
            token = f"se=later&sp=r&sig={len(self.tokens) + 1}"
            self.tokens[token] = time.monotonic()
            self._write(request)
        return token

    def _write(self, request: Request) -> None:
        with self.log.open("a") as log:
            log.write(json.dumps(asdict(request)) + "\n")

    def _draw(self, path: str, subject: str) -> str:
        trouble = self.trouble
        for text, kind in trouble.always.items():
            if text in path:
                nth = self.counts[path] - trouble.spared
                return kind if 0 < nth <= trouble.first else ""
        drawn = hashlib.blake2b(f"{trouble.seed} {subject}".encode(), digest_size=8).digest()
        share = int.from_bytes(drawn, "big") / 2**64
        for kind, size in (
            ("503", trouble.busy), ("cut", trouble.cut),
            ("late", trouble.late), ("reset", trouble.reset),
        ):  # fmt: skip
            if share < size:
                return kind
            share -= size
        return ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        at, url, wanted = time.time(), urlsplit(self.path), self.headers.get("Range")
        signed = re.search(
            r"AWS4-HMAC-SHA256 Credential=(\w+)/", self.headers.get("Authorization", "")
        )
        path, key = unquote(url.path), signed[1] if signed else ""

        def request(trouble: str, open_: int, status: int, size: int) -> Request:
            return Request(
                at, open_, self.command, path, wanted or "", url.query, key, trouble, status, size
            )

        if path.startswith("/tokens/"):
            self._send_token(self.server.give_token(request("", 0, 200, 0)))
            return
        kind, open_ = self.server.begin(path, self.command, wanted)
        if kind == "late":
            time.sleep(self.server.trouble.wait)
        time.sleep(self.server.trouble.slow)
        foreign, needed = bool(url.scheme), self.server.trouble.key
        allowed = self._has_token(url.query) if foreign else not needed or key == needed
        status, headers, content = self._answer(kind if allowed else "403", path, wanted)
        head = self._head(status, headers, len(content))
        if self.command == "HEAD":
            content = b""
        elif kind == "cut":
            content = content[: len(content) // 2]
        # Before the client can know: what it then requests is counted after this.
        self.server.end(request(kind, open_, status, len(content)))
        try:
            if status == 0:
                lingering = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingering)
                self.connection.close()
                raise ConnectionResetError
            self.wfile.write(head + content)
            self.close_connection |= kind == "cut" or self.server.trouble.closes
        except OSError:  # the client has gone
            self.close_connection = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(
        self, kind: str, path: str, wanted: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and whole body of an answer; the status 0 for a reset."""
        file = self.server.folder / path.lstrip("/")
        if kind == "reset":
            return 0, {}, b""
        if "://" in kind:
            return 302, {"Location": kind}, b""
        if kind.isdigit():
            after = self.server.trouble.after
            return (
                int(kind),
                {"Retry-After": after} if after and kind in ("429", "503") else {},
                b"",
            )
        if not file.is_file():
            return 404, {}, b""
        content, headers = file.read_bytes(), {"Accept-Ranges": "bytes"}
        if not wanted:
            return 200, headers, content
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last or len(content)) + 1]
        if not part:
            return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
        until = int(first) + len(part) - 1
        return 206, {**headers, "Content-Range": f"bytes {first}-{until}/{len(content)}"}, part

    def _head(self, status: int, headers: Mapping[str, str], length: int) -> bytes:
        lines = [f"HTTP/1.1 {status} Answer", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def _has_token(self, query: str) -> bool:
        trouble, given = self.server.trouble, self.server.tokens.get(query)
        self.server.uses[query] += 1
        fresh = given is not None and time.monotonic() - given < trouble.token_lasts
        return fresh and self.server.uses[query] <= trouble.token_uses

    def _send_token(self, token: str) -> None:
        ends = datetime.now(UTC) + timedelta(seconds=self.server.trouble.token_stated)
        body = json.dumps({"token": token, "msft:expiry": ends.isoformat()}).encode()
        self.wfile.write(self._head(200, {"Content-Type": "application/json"}, len(body)) + body)

    def log_message(self, *_: object) -> None:
        pass


def _serve(folder: str, log: str, trouble: str, descriptor: str) -> None:
    server = _Server(Path(folder), Path(log), Trouble(**json.loads(trouble)), int(descriptor))

    def stop_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)  # requests that are late still sleep

    threading.Thread(target=stop_with_parent, daemon=True).start()
    sys.stdout.write("\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
