"""Laws of serving: what the folder holds, over HTTP as it would come from far away, and no more."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import pystac_client
import pytest
import rasterio

from terralatent.catalogs.documents.serve import serving
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from tests.made.catalogue import region
from tests.waiting import WITHIN_S, until

MAY = ("2018-05-01", "2018-05-31")


@pytest.fixture(scope="module")
def api(catalogue: Path) -> Iterator[str]:
    with serving(catalogue) as url:
        yield url


@pytest.fixture(scope="module")
def served(api: str) -> Scenes:
    return search_scenes(api, region(), *MAY)


def request(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=WITHIN_S)
    connection.request(method, parts.path, headers=headers)
    answer = connection.getresponse()
    answered = {name.lower(): value for name, value in answer.getheaders()}
    body = answer.read()
    connection.close()
    return answer.status, answered, body


def hrefs(scenes: Scenes) -> dict[tuple[str, str], str]:
    return {
        (item["id"], name): asset["href"]
        for item in scenes.items
        for name, asset in item["assets"].items()
    }


def test_a_search_of_the_api_is_a_search_of_the_folder(served: Scenes, made_up: Scenes) -> None:
    assert served.digest == made_up.digest
    for sensor in made_up.sensors:
        for a, b in zip(served.acquisitions(sensor), made_up.acquisitions(sensor), strict=True):
            assert a.scalings == b.scalings
            assert [i["properties"] for i in a.items] == [i["properties"] for i in b.items]


def test_pages_hold_every_item_once(api: str, made_up: Scenes) -> None:
    client = pystac_client.Client.open(api)
    search = client.search(collections=["sentinel-2-l2a", "sentinel-1-rtc"], limit=2)
    ids = [item["id"] for page in search.pages_as_dicts() for item in page["features"]]
    assert sorted(ids) == sorted(item["id"] for item in made_up.items)


def test_gdal_reads_the_same_pixels_over_http(served: Scenes, made_up: Scenes) -> None:
    far, near = hrefs(served), hrefs(made_up)
    assert far.keys() == near.keys()

    def pixels(href: str) -> Any:
        with rasterio.open(href) as file:
            return file.read(1)

    def same(key: tuple[str, str]) -> bool:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            return np.array_equal(pixels(far[key]), pixels(near[key]), equal_nan=True)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, sorted(far)))


def test_ranges_are_parts_of_the_file(served: Scenes, made_up: Scenes) -> None:
    key = ("S2_A", "B02")
    url, content = hrefs(served)[key], Path(hrefs(made_up)[key]).read_bytes()
    size = len(content)

    status, headers, body = request(url)
    assert (status, body, headers["accept-ranges"]) == (200, content, "bytes")
    status, headers, body = request(url, "HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(size))
    for text, part in {
        "bytes=0-0": content[:1],
        "bytes=10-99": content[10:100],
        f"bytes=5-{size + 1000}": content[5:],
        "bytes=100-": content[100:],
        "bytes=-7": content[-7:],
    }.items():
        status, headers, body = request(url, Range=text)
        assert (status, body) == (206, part), text
        first = content.index(part) if len(part) > 1 else 0
        assert headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{size}"
        assert headers["content-length"] == str(len(part))


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("bytes=99999999-", 416),
        ("bytes=99999999-100000000", 416),
        ("bytes=9-2", 400),
        ("rows=1-2", 400),
    ],
)
def test_ranges_that_the_file_does_not_have_are_refused(
    text: str, status: int, served: Scenes
) -> None:
    assert request(hrefs(served)["S2_A", "B02"], Range=text)[0] == status


def test_only_files_below_the_folder_are_served(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.json").write_text(ITEM.replace("HREF", "./a.tif").replace("NAME", "inside"))
    (folder / "b.json").write_text(ITEM.replace("HREF", "../secret.tif").replace("NAME", "outside"))
    (folder / "a b%.tif").write_bytes(b"pixels")
    (folder / "a.tif").write_bytes(b"pixels")
    (folder / "inner").mkdir()
    (tmp_path / "secret.tif").write_bytes(b"secret")
    (tmp_path / "folder-beside").mkdir()
    (tmp_path / "folder-beside" / "x").write_bytes(b"secret")
    (folder / "link.tif").symlink_to(tmp_path / "secret.tif")
    with serving(folder) as url:
        search = pystac_client.Client.open(url).search(limit=1, bbox=[0, 0, 2, 2])
        assets = {item["id"]: item["assets"] for item in search.items_as_dicts()}
        assert list(assets["outside"]) == []
        files = assets["inside"]["B02"]["href"].removesuffix("/a.tif")
        assert request(f"{files}/a.tif")[2] == b"pixels"
        assert request(f"{files}/a%20b%25.tif")[2] == b"pixels"
        for path in OUTSIDE:
            status, _, body = request(f"{files}/{path}")
            assert status == 404, path
            assert body == b"No such file."
        assert request(f"{files}/a.tif", "DELETE")[0] == 405
        address = urlsplit(files)
        assert address.hostname == "127.0.0.1"
        with pytest.raises(OSError):
            socket.create_connection((own_address(), address.port or 0), timeout=1.0)


OUTSIDE = (
    *("../secret.tif", "%2e%2e/secret.tif", "..%2fsecret.tif", "../folder-beside/x", "link.tif"),
    *("//etc/passwd", "%00", "a" * 5000, "inner", "", "missing.tif"),
)
ITEM = """{"type": "Feature", "stac_version": "1.0.0", "id": "NAME", "collection": "c",
"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]},
"bbox": [0, 0, 1, 1], "properties": {"datetime": "2018-05-01T00:00:00Z"}, "links": [],
"assets": {"B02": {"href": "HREF"}}}"""


def own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has loopback only")
        return str(probe.getsockname()[0])


def is_free(port: int) -> bool:
    """Whether nobody has a port of loopback."""
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def taken_between_free() -> Iterator[int]:
    """Take a port of which both neighbours are free."""
    with ExitStack() as stack:
        while True:
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port: int = taken.getsockname()[1]
            if is_free(port - 1) and is_free(port + 1):
                yield port
                return


def test_what_cannot_be_served_is_named(tmp_path: Path, catalogue: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"), serving(tmp_path / "none"):
        pass
    with pytest.raises(InputError, match="holds no catalog"), serving(tmp_path):
        pass
    with taken_between_free() as port:
        for wanted in (port, port - 1):
            with pytest.raises(InputError, match=f"Port {port} of 127"), serving(catalogue, wanted):
                pass


SERVE = "import sys; from terralatent.catalogs.documents.serve import serve; serve(sys.argv[1], 0, ready=lambda url: print(url, flush=True))"  # noqa: E501


@contextmanager
def serving_alone(catalogue: Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A process that serves; yields the URLs of its API and of a file."""
    command = [sys.executable, "-c", SERVE, str(catalogue)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(WITHIN_S, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert request(url)[0] == 200
        yield process, url, next(iter(hrefs(search_scenes(url, region(), *MAY)).values()))
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def is_closed(url: str) -> bool:
    try:
        request(url)
    except OSError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_and_all_that_it_started(number: int, catalogue: Path) -> None:
    with serving_alone(catalogue) as (process, url, href):
        started = psutil.Process(process.pid).children(recursive=True)
        assert {child.name() for child in started} >= {"rustac"}
        os.kill(process.pid, number)
        assert process.wait(WITHIN_S) == (-number if number == signal.SIGKILL else 0)
        if number == signal.SIGKILL:  # nobody waits for the others
            until(lambda: is_closed(url) and is_closed(href))
            until(lambda: not any(child.is_running() and child.status() != "zombie"
                                  for child in started))  # fmt: skip
        assert is_closed(url)
        assert is_closed(href)


@pytest.mark.parametrize(("name", "words"), [("rustac", "The API"), ("api_front", "The API"),
                                             ("range_files", "The file server")])  # fmt: skip
def test_the_death_of_a_part_ends_it_with_an_error(name: str, words: str, catalogue: Path) -> None:
    with serving_alone(catalogue) as (process, url, href):
        (part,) = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if name in child.name() or any(word.endswith(f".{name}") for word in child.cmdline())
        ]
        part.kill()
        _, said = process.communicate(timeout=WITHIN_S)
        assert process.returncode != 0
        assert re.search(rf"InputError: {words} ended by itself \(exit code -?\d+\)", said)
        until(lambda: is_closed(url) and is_closed(href))


def test_no_page_of_a_web_site_may_read_what_is_served(api: str, served: Scenes) -> None:
    site = {"Origin": "https://site.example.org"}
    for url in (api, f"{api}/collections", f"{api}/search", next(iter(hrefs(served).values()))):
        status, headers, _ = request(url, **site)
        assert status == 200
        assert not [name for name in headers if name.startswith("access-control")]
        asked = request(url, "OPTIONS", **site, **{"Access-Control-Request-Method": "POST"})
        assert asked[0] == 405
        assert not [name for name in asked[1] if name.startswith("access-control")]
        assert request(url, Host="site.example.org")[0] == 400
