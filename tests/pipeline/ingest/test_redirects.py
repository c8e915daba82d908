"""Wherever a server sends a reader on to, whatever its name becomes, no private host is read."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.shutil import copy
from rasterio.transform import from_origin

from terralatent.catalogs.documents.access import Access
from terralatent.pipeline.ingest import raster, retry
from terralatent.pipeline.ingest.assets import Band, Source
from tests.pipeline.ingest.reading import read_all
from tests.servers.file_server import QUICK, QUICK_WAIT_S, FileServer, Trouble, serving_files
from tests.servers.names import PUBLIC, leading

SIDE = 600
HOST = "files.example.org"
WINDOW = GeoBox((64, 64), from_origin(5e5 + 5000, 5.6e6 - 5000, 10, 10), "EPSG:32631")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COG that is read in several requests."""
    folder = tmp_path_factory.mktemp("files")
    pixels = np.random.default_rng(0).integers(1, 60_000, (SIDE, SIDE)).astype(np.uint16)
    plain = {"width": SIDE, "height": SIDE, "count": 1, "dtype": "uint16", "crs": "EPSG:32631"}
    with rasterio.open(folder / "plain.tif", "w", transform=from_origin(5e5, 5.6e6, 10, 10),
                       **plain) as file:  # fmt: skip
        file.write(pixels, 1)
    copy(folder / "plain.tif", folder / "a.tif", driver="COG", blocksize=128)
    return folder


@pytest.fixture(scope="module")
def intern(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    """A private server that has the file too; nobody may ask it."""
    with serving_files(files, tmp_path_factory.mktemp("intern") / "log") as server:
        yield server


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setitem(raster.GDAL_OPTIONS, name, value)  # type: ignore[arg-type]
    monkeypatch.setattr(retry, "FIRST_WAIT_S", QUICK_WAIT_S)
    for name in ("NO_PROXY", "no_proxy"):  # is changed where it is set
        monkeypatch.setenv(name, "localhost,127.0.0.1,169.254.169.254,intern.example.org")


def read(url: str, access: Access) -> tuple[int, str]:
    """Read a window of a file; gives how many of its pixels came, and why the others did not."""
    band = Band("B02", "uint16", 0.0)
    pixels, unread = read_all(
        [Source("item", {"B02": url})], [band], WINDOW, access=access, threads=1
    )
    return int(np.count_nonzero(pixels["B02"])), "".join(each.reason for each in unread)


def port_of(server: FileServer) -> str:
    return server.url.rpartition(":")[2]


TARGETS = (
    "http://127.0.0.1:PORT/a.tif",
    "http://localhost:PORT/a.tif",
    "http://169.254.169.254/latest/meta-data",
    "http://[::ffff:127.0.0.1]:PORT/a.tif",
    "http://intern.example.org:PORT/a.tif",
    "https://intern.example.org:PORT/a.tif",
)


@pytest.mark.parametrize(
    ("nth", "target"), [*((1, target) for target in TARGETS), (0, TARGETS[0]), (2, TARGETS[2])]
)
def test_no_request_is_redirected_to_a_private_host(
    files: Path, intern: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    nth: int, target: str,
) -> None:  # fmt: skip
    target = target.replace("PORT", port_of(intern))
    trouble = Trouble(always={"a.tif": target}, spared=nth)
    names = {HOST: PUBLIC, "intern.example.org": "127.0.0.1"}
    with (
        leading(tmp_path, monkeypatch, names),
        serving_files(files, tmp_path / "log", trouble) as server,
    ):
        came, reason = read(f"http://{HOST}:{port_of(server)}/a.tif", Access())
        assert len(server.requests) > nth
    assert came == 0
    assert re.search(r"may not be read: (its host|it is no URL)", reason)
    assert intern.requests == []


def test_a_redirect_to_another_public_host_is_followed_unless_the_source_names_its_hosts(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {HOST: PUBLIC, "other.example.org": PUBLIC}
    with leading(tmp_path, monkeypatch, names), serving_files(files, tmp_path / "log") as other:
        trouble = Trouble(always={"a.tif": f"http://other.example.org:{port_of(other)}/a.tif"})
        with serving_files(files, tmp_path / "moved", trouble) as server:
            url = f"http://{HOST}:{port_of(server)}/a.tif"
            assert read(url, Access()) == (64 * 64, "")
            assert read(url, Access(hosts=(HOST, "other.example.org"))) == (64 * 64, "")
            came, reason = read(url, Access(hosts=(HOST,)))
    assert (came, "its source names other hosts" in reason) == (0, True)


@pytest.mark.parametrize(
    ("before", "address"), [(0, "127.0.0.1"), (1, "169.254.169.254"), (2, "127.0.0.1"), (2, "::1")]
)
def test_a_name_that_leads_elsewhere_later_is_not_followed(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, address: str
) -> None:
    names = {HOST: [*[PUBLIC] * before, address]}
    with (
        leading(tmp_path, monkeypatch, names),
        serving_files(files, tmp_path / "log", Trouble(closes=True)) as server,
    ):
        came, reason = read(f"http://{HOST}:{port_of(server)}/a.tif", Access())
        assert (came, len(server.requests)) == (0, before)
    assert f"its host leads to the private address {address}" in reason


def test_what_the_user_named_may_be_private_and_is_read_through_the_proxy_too(
    files: Path, tmp_path: Path, intern: FileServer
) -> None:
    before = len(intern.requests)
    assert read(f"{intern.url}/a.tif", Access.of(intern.url)) == (64 * 64, "")
    trouble = Trouble(always={"a.tif": f"{intern.url}/a.tif"})
    with serving_files(files, tmp_path / "log", trouble) as server:
        assert read(f"{server.url}/a.tif", Access.of(server.url)) == (64 * 64, "")
    assert len(intern.requests) > before


@pytest.mark.parametrize("name", ["http_proxy", "GDAL_HTTP_PROXY"])
def test_a_proxy_of_the_user_comes_after_it(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, intern: FileServer, name: str
) -> None:
    """It may know names that nobody knows here, and is no way to private hosts."""
    before = len(intern.requests)
    with serving_files(files, tmp_path / "log") as server:
        monkeypatch.setenv(name, server.url)
        assert "403" in read("http://unknown.example.org/a.tif", Access())[1]  # it wants a token
        asked = len(server.requests)
        assert "private" in read(f"{intern.url}/a.tif", Access())[1]
        assert asked == len(server.requests) > 0
        assert read(f"{intern.url}/a.tif", Access.of(intern.url)) == (64 * 64, "")  # by no_proxy
        assert (len(server.requests), len(intern.requests) > before) == (asked, True)


def test_who_does_not_listen_is_named(tmp_path: Path, files: Path) -> None:
    with serving_files(files, tmp_path / "log") as server:
        pass
    came, reason = read(f"{server.url}/a.tif", Access.of(server.url))
    assert (came, "Connection refused" in reason) == (0, True), reason


LAZY = """
import sys, rasterio
from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.documents.proxy import gdal_settings
from terralatent.pipeline.ingest.assets import _settings
with _settings(gdal_settings(Access.of(sys.argv[1]))), rasterio.open(sys.argv[1]) as file:
    print(file.overviews(1), file.tags(), file.checksum(1))
"""


def test_gdal_may_wait_while_it_holds_pythons_lock(files: Path, intern: FileServer) -> None:
    """A proxy in a thread could not answer then."""
    command = [sys.executable, "-c", LAZY, f"{intern.url}/a.tif"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
