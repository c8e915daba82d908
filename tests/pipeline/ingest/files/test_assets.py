"""What is fetched from a server for a window of a large file."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy

READ = """
import sys
import rasterio
from rasterio.windows import Window
from terralatent.pipeline.ingest.raster import GDAL_OPTIONS
with rasterio.Env(**GDAL_OPTIONS), rasterio.open(sys.argv[1]) as file:
    print(file.read(1, window=Window(600, 600, 64, 64)).sum())
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COG of 8 MB that does not compress."""
    folder = tmp_path_factory.mktemp("large")
    pixels = np.random.default_rng(0).integers(0, 60_000, (1536, 1536)).astype(np.uint16)
    transform = rasterio.transform.from_origin(5e5, 5.6e6, 10, 10)
    plain = {"width": 1536, "height": 1536, "count": 1, "dtype": "uint16", "crs": "EPSG:32631"}
    with rasterio.open(folder / "plain.tif", "w", transform=transform, **plain) as file:
        file.write(pixels, 1)
    copy(folder / "plain.tif", folder / "large.tif", driver="COG", blocksize=512)
    return folder / "large.tif"


@pytest.fixture
def counting(large: Path) -> Iterator[tuple[str, list[int]]]:
    """A server of that file with range requests, and the bytes it sent for each."""
    content, sent = large.read_bytes(), []

    class Counting(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, body: bool) -> None:
            wanted = self.headers.get("Range")
            first, last = 0, len(content) - 1
            if wanted:
                first, end = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
                last = min(end, last)
            self.send_response(206 if wanted else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(last + 1 - first))
            if wanted:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.end_headers()
            if body:
                sent.append(last + 1 - first)
                self.wfile.write(content[first : last + 1])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/large.tif", sent
        server.shutdown()


def test_a_window_costs_its_tile_and_the_header_and_never_the_file(
    large: Path, counting: tuple[str, list[int]]
) -> None:
    # In a process of its own: this one's threads serve.
    url, sent = counting
    ended = subprocess.run([sys.executable, "-c", READ, url], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    tile = 512 * 512 * 2
    assert tile <= sum(sent) < 1.5 * tile + 100_000
    assert max(sent) < large.stat().st_size / 4
