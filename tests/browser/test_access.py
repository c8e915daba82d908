"""The server of a page answers who has its token, from where it was sent; nobody else.

Another user of the machine is a Python of the system with its standard library alone, under the
number of a user who owns nothing here.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.pages import serving
from tests.made.opened import Stores
from tests.waiting import WITHIN_S

pytestmark = pytest.mark.browser

NOBODY = "65534"

ATTACK = """
import glob, json, socket, sys
from urllib.request import Request, urlopen
from urllib.error import HTTPError

port = int(sys.argv[1])
base = f"http://127.0.0.1:{port}"
guess = "A" * 43

def status(path, **headers):
    try:
        with urlopen(Request(base + path, headers=headers)) as answer:
            return answer.status
    except HTTPError as error:
        return error.code

pages = {path: status(path) for path in (
    "/", "/ws", "/static/js/bokeh.min.js", "/autoload.js", "/metadata", f"/{guess}/",
    f"/{guess}/ws", f"/{guess}/static/js/bokeh.min.js", "//", "/..//ws", "/%2e%2e/",
)}
pages["websocket"] = status(
    "/ws", Upgrade="websocket", Connection="Upgrade",
    **{"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="},
)
lines = []
for name in glob.glob("/proc/[0-9]*/cmdline"):
    try:
        lines.append(open(name, "rb").read().decode(errors="replace"))
    except OSError:
        pass
files = []
for folder in glob.glob("/tmp/terralatent-view-*"):
    try:
        files += [open(name).read() for name in glob.glob(folder + "/*")]
    except OSError:
        pass
print(json.dumps({"pages": pages, "lines": lines, "files": files}))
"""


@pytest.fixture(scope="module")
def url(stores: Stores) -> Iterator[str]:
    pytest.importorskip("bokeh", reason="NOT TRIED: the extra `view` is not installed")
    with serving(stores["landcover"], "--origin", "hub.example.org") as address:
        yield address


def asked(url: str, path: str, **headers: str) -> int:
    """The status of an answer to a request of exactly these headers."""
    where = urlsplit(url)
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    with socket.create_connection((where.hostname, where.port), timeout=WITHIN_S) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(100).split()[1])


def shaken(url: str, **headers: str) -> int:
    """The status of a websocket's handshake; 101 where it is taken."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    path = f"{urlsplit(url).path}ws"
    return asked(url, path, **upgrade, **{"Sec-WebSocket-Key": key}, **headers)


def test_another_user_gets_nothing_and_finds_no_token(url: str) -> None:
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("NOT TRIED: to be another user takes root and setpriv")
    python = next(
        (p for p in ("/usr/bin/python3", "/usr/local/bin/python3") if Path(p).exists()), ""
    )
    if not python:
        pytest.skip("NOT TRIED: the system has no python3 that another user may run")
    user = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]
    done = subprocess.run(
        [*user, python, "-I", "-c", ATTACK, str(urlsplit(url).port)],
        cwd="/", capture_output=True, text=True, timeout=WITHIN_S, check=True,
    )  # fmt: skip
    heard = json.loads(done.stdout)

    assert set(heard["pages"].values()) == {403}, heard["pages"]
    token = urlsplit(url).path.strip("/")
    assert len(token) == 43
    assert any("view" in line for line in heard["lines"])
    assert not [line for line in heard["lines"] if token in line]
    assert heard["files"] == []


def test_who_has_the_token_is_answered(url: str) -> None:
    here, path = urlsplit(url).netloc, urlsplit(url).path
    assert asked(url, path, Host=here) == 200
    assert asked(url, path, Host=f"localhost:{urlsplit(url).port}") == 200
    assert asked(url, path.rstrip("/"), Host=here) == 403


def test_a_name_that_was_made_to_lead_here_is_refused(url: str) -> None:
    path = urlsplit(url).path
    assert asked(url, path, Host="evil.example.org") == 403
    assert asked(url, path, Host=f"evil.example.org:{urlsplit(url).port}") == 403
    assert shaken(url, Host="evil.example.org") == 403


def test_a_page_of_another_site_opens_no_websocket(url: str) -> None:
    here = urlsplit(url).netloc
    assert shaken(url, Host=here, Origin=f"http://{here}") == 101
    for origin in ("http://evil.example.org", "null", f"http://{here}.evil.example.org"):
        assert shaken(url, Host=here, Origin=origin) == 403, origin


def test_a_proxy_that_was_named_is_one_more_origin(url: str) -> None:
    assert shaken(url, Host="hub.example.org", Origin="https://hub.example.org") == 101
    assert asked(url, urlsplit(url).path, Host="hub.example.org") == 200


def test_it_listens_on_loopback_alone(url: str) -> None:
    psutil = pytest.importorskip("psutil")
    port = urlsplit(url).port
    listening = [
        own.laddr.ip
        for own in psutil.net_connections("tcp")
        if own.status == psutil.CONN_LISTEN and own.laddr.port == port
    ]
    assert listening == ["127.0.0.1"]
