"""Hosts that are odd, not down: one file that drips, one that changes under its reader."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio import Affine

from terralatent.catalogs.documents.access import Access
from terralatent.pipeline.ingest import assets, raster, retry
from terralatent.pipeline.ingest.assets import Band, Source, Unread
from tests.made.catalogue import CRS, LEFT, TOP
from tests.pipeline.ingest.reading import read_all

SIDE = 256
GRID = Affine(10.0, 0.0, LEFT, 0.0, -10.0, TOP)
WINDOW = GeoBox((SIDE, SIDE), GRID, CRS)


def write(path: Path, seed: int, **how: Any) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(1, 60_000, (SIDE, SIDE)).astype(np.uint16)
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint16", count=1, crs=CRS, width=SIDE, height=SIDE,
        transform=GRID, nodata=0, **how,
    ) as file:  # fmt: skip
        file.write(pixels, 1)
    return pixels


class Host(ThreadingHTTPServer):
    """Serves one file under every name."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.later: tuple[int, bytes] = (1_000_000, b"")
        """From which request on there is other content."""
        self.drip: tuple[int, float] = (1_000_000, 0.0)
        """Bytes of a piece of files called ``slow``, and seconds between pieces."""
        self.asked: list[str] = []
        self.headers: list[Message] = []
        self.ended = threading.Event()

    def names(self, text: str) -> int:
        """How many requests there were for files whose name holds ``text``."""
        return sum(text in path for path in self.asked)

    def read(self, *names: str) -> tuple[list[np.ndarray], list[Unread]]:
        url = f"http://127.0.0.1:{self.server_port}"
        pixels, unread = read_all(
            [Source(name, {"band": f"{url}/{name}.tif"}) for name in names],
            [Band("band", "uint16", 0)], WINDOW, access=Access.of(url), threads=4, at_once=4,
        )  # fmt: skip
        return list(pixels["band"]), unread


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Host

    def do_GET(self) -> None:
        host = self.server
        host.asked.append(self.path)
        host.headers.append(self.headers)
        changed = len(host.asked) >= host.later[0]
        content = host.later[1] if changed else host.content
        since = self.headers.get("If-Unmodified-Since")
        modified = datetime(2018 if not changed else 2999, 6, 1, tzinfo=UTC)
        if since and parsedate_to_datetime(since) < modified:
            self.send_response(412)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, last, wanted = 0, len(content) - 1, self.headers.get("Range")
        if wanted:
            begin, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(last, int(end or last))
        self.send_response(206 if wanted else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(max(0, last + 1 - first)))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self._send(content[first : last + 1])

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, body: bytes) -> None:
        piece, wait = self.server.drip if "slow" in self.path else (len(body) or 1, 0.0)
        try:
            for first in range(0, len(body), piece):
                self.wfile.write(body[first : first + piece])
                if self.server.ended.wait(wait):
                    break
        except OSError:  # the reader has gone
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(path: Path) -> Iterator[Host]:
    with Host(path.read_bytes()) as host:
        threading.Thread(target=host.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield host
        finally:
            host.ended.set()
            host.shutdown()


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows no host, asks again soon, and takes a second for long."""
    retry._host.cache_clear()
    for name, value in (("FIRST_WAIT_S", 0.01), ("SLOW_S", 0.7), ("LEAST_REQUEST_S", 1.0)):
        monkeypatch.setattr(retry, name, value)
    monkeypatch.setitem(raster.GDAL_OPTIONS, "GDAL_HTTP_LOW_SPEED_TIME", 1)  # type: ignore[arg-type]


OTHERS = tuple(f"quick-{number}" for number in range(10))


def test_one_file_of_eleven_that_drips_is_named_soon_and_the_others_are_read(
    tmp_path: Path,
) -> None:
    pixels = write(tmp_path / "a.tif", 1)
    with serving(tmp_path / "a.tif") as host:
        host.drip = (100, 1.0)
        read, (loss,) = host.read(*OTHERS, "slow")
        assert (loss.source, host.names("quick-1.") > 0) == ("slow", True)
        assert "it comes too slowly" in loss.reason
        for values in read[:-1]:
            np.testing.assert_array_equal(values, pixels)
        assert not read[-1].any()

        tried = host.names("slow")
        assert host.read("slow")[1] == [loss], "its other windows do not wait"
        assert host.names("slow") == tried


def test_a_file_that_takes_far_longer_than_others_of_its_host_is_named(tmp_path: Path) -> None:
    """Though it comes faster than what GDAL ends: of so many files it is known what one takes."""
    write(tmp_path / "a.tif", 1)
    with serving(tmp_path / "a.tif") as host:
        host.drip = (2000, 0.5)
        assert host.read(*OTHERS)[1] == []
        assert [loss.source for loss in host.read("slow", *OTHERS)[1]] == ["slow"]


def test_on_a_slow_line_no_file_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "LEAST_REQUEST_S", 0.0)
    pixels = write(tmp_path / "a.tif", 1)
    with serving(tmp_path / "a.tif") as host:
        host.drip = (20_000, 0.02)
        names = tuple(f"slow-{number}" for number in range(20))
        for read, unread in (host.read(*names), host.read(*names)):
            assert unread == []
            assert all((values == pixels).all() for values in read)


@pytest.mark.parametrize("compress", ["none", "deflate"])
def test_a_file_that_changes_between_two_requests_is_the_one_or_the_other(
    compress: str, tmp_path: Path
) -> None:
    """Never some of each, though its parts lie at the same places."""
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": compress}
    old = write(tmp_path / "old.tif", 1, **tiles)
    new = write(tmp_path / "new.tif", 2, **tiles)
    ended = []
    for request in (1, 2, 3, 9):
        retry._host.cache_clear()
        with serving(tmp_path / "old.tif") as host:
            host.later = (request, (tmp_path / "new.tif").read_bytes())
            (pixels,), unread = host.read("a")
        assert unread == []
        ended += [name for name, one in {"old": old, "new": new}.items() if (pixels == one).all()]
    assert ended == ["new", "new", "new", "old"]


def test_a_file_newer_than_the_clock_of_this_machine_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = write(tmp_path / "a.tif", 1)
    monkeypatch.setattr(assets, "formatdate", lambda **_: "Mon, 01 Jan 2018 00:00:00 GMT")
    with serving(tmp_path / "a.tif") as host:
        (read,), unread = host.read("a")
    assert unread == []
    np.testing.assert_array_equal(read, pixels)


def test_headers_of_the_user_are_sent_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_HEADERS", "X-Mine: 5,X-Other: 6")
    write(tmp_path / "a.tif", 1)
    with serving(tmp_path / "a.tif") as host:
        assert host.read("a")[1] == []
        assert all((sent["X-Mine"], sent["X-Other"]) == ("5", "6") for sent in host.headers)
        assert all(" GMT" in sent["If-Unmodified-Since"] for sent in host.headers)
