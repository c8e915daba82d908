"""The proxy serves its own process and nobody else, and lets documents reach what they may."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from base64 import b64encode
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from terralatent.catalogs.documents import proxy
from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.documents.fetch import Documents, read_document
from terralatent.catalogs.documents.proxy import gdal_settings, proxy_url
from terralatent.catalogs.documents.way import Way
from terralatent.catalogs.errors import InputError
from tests.servers.names import PUBLIC, leading, own_proxy
from tests.servers.scripted import Answer, Request, scripted
from tests.waiting import until

OWN = Access(own="127.0.0.1")


def through(url: str, by: str, **how: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, proxies={"http": by, "https": by}, timeout=30, **how)


def test_whoever_does_not_know_the_secret_gets_nothing() -> None:
    own = proxy_url(OWN)
    user, _, rest = own.removeprefix("http://").partition(":")
    port = rest.rpartition(":")[2]
    with scripted(lambda _: Answer(b"yes")) as it:
        assert through(it.url, own).content == b"yes"
        for stranger in (f"127.0.0.1:{port}", f"{user}:guess@127.0.0.1:{port}",
                         f"{user}:@127.0.0.1:{port}", f"x:y@127.0.0.1:{port}"):  # fmt: skip
            assert through(it.url, f"http://{stranger}").status_code == 407
            with pytest.raises(requests.exceptions.ProxyError, match="407"):
                through("https://127.0.0.1:1/", f"http://{stranger}")
            assert requests.get(f"http://{stranger}/refused", timeout=30).status_code == 407
        assert len(it.requests) == 1


NOISE = (b"\r\n\r\n", b"GET\r\n\r\n", b"GET http://a b c HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize("sent", [*NOISE, b"\x16\x03\x01\xff" * 100, b"a" * 300_000])
def test_noise_gets_nothing_and_does_no_harm(sent: bytes) -> None:
    own = proxy_url(OWN)
    port = int(own.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as noisy,
        suppress(OSError),  # it hangs up on whoever says too much, perhaps meanwhile
    ):
        noisy.sendall(sent)
        noisy.shutdown(socket.SHUT_WR)
        while noisy.recv(1 << 16):
            pass
    with scripted(lambda _: Answer(b"yes")) as it:
        assert through(it.url, own).content == b"yes"


def test_a_way_is_what_its_name_says() -> None:
    way = Way(Access("/data", ("*.org",), "höst"), (("http", "http://a:b@c:1"),), "localhost,.org")
    assert Way.of_user(way.user) == way
    assert way.proxy_for("http://x.com/a") == "http://a:b@c:1"
    assert way.proxy_for("https://x.com/a") is None
    for host in ("localhost", "org", "a.org"):
        assert way.proxy_for(f"http://{host}/a") is None
    listed = Way(Access(), way.proxies, "10.0.0.0/8, ::1")
    assert listed.proxy_for("http://10.2.3.4/") is None
    assert listed.proxy_for("http://11.2.3.4/") is not None
    assert Way(Access(), way.proxies, "*").proxy_for("http://x.com/") is None


def test_a_connection_goes_to_each_host_that_is_named_and_to_no_other() -> None:
    """As GDAL does: one connection to the proxy, requests for several hosts."""
    with (
        scripted(lambda r: Answer(r.url.encode())) as one,
        scripted(lambda r: Answer(r.body)) as two,
    ):
        with requests.Session() as session:
            session.trust_env = False
            by = {"http": proxy_url(OWN)}
            for _ in range(3):
                assert session.get(f"{one.url}/a?b=c", proxies=by).text == f"{one.url}/a?b=c"
                assert session.post(two.url, b"body" * 9999, proxies=by).content == b"body" * 9999
                refused = session.get("http://10.0.0.1/", proxies=by)
                assert (refused.status_code, refused.headers["connection"]) == (403, "close")
            stranger = {"http": proxy_url(Access())}
            assert session.get(f"{one.url}/a", proxies=stranger).status_code == 403
        assert [request.path for request in one.requests] == ["/a"] * 3
        assert "proxy-authorization" not in one.requests[0].headers


def tunnelled(url: str, by: str) -> bytes:
    """What an URL gives through a tunnel, as that of https is, without TLS."""
    far, near = urlsplit(url), urlsplit(by)
    known = b64encode(f"{near.username}:{near.password}".encode()).decode()
    connection = HTTPConnection("127.0.0.1", near.port or 0, timeout=30)
    connection.set_tunnel(far.hostname or "", far.port, {"Proxy-Authorization": f"Basic {known}"})
    try:
        connection.request("POST", far.path, b"question" * 99_999)
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.parametrize("users", ["", "https_proxy"])
def test_a_tunnel_passes_on_what_it_gets_both_ways(
    monkeypatch: pytest.MonkeyPatch, users: str
) -> None:
    """A proxy of the user's that takes tunnels is another one of ours."""
    other = proxy._Proxy()
    if users:
        url = f"http://{Way(OWN).user}:{other.secret}@127.0.0.1:{other.port}"
        monkeypatch.setenv(users, url)
    content = bytes(range(256)) * 50_000
    with scripted(lambda _: Answer(content)) as it:
        assert tunnelled(f"{it.url}/a", proxy_url(OWN)) == content
        assert it.requests[0].body == b"question" * 99_999
        if users:  # it is who does not let this one through
            monkeypatch.setenv(users, url.replace(Way(OWN).user, Way(Access()).user))
            with pytest.raises(OSError, match="403"):
                tunnelled(f"{it.url}/a", proxy_url(OWN))
    other.process.communicate()


def test_documents_follow_no_name_to_a_private_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: Request) -> Answer:
        port = it.url.rpartition(":")[2]
        target = f"http://intern.example.org:{port}/c.json"
        moved = Answer(status=302, headers={"location": target, "connection": "close"})
        return moved if request.path == "/moved" else Answer(json.dumps({}).encode())

    names = {"files.example.org": [PUBLIC, "127.0.0.1"], "intern.example.org": "169.254.169.254"}
    with leading(tmp_path, monkeypatch, names), scripted(answer) as it:
        public = it.url.replace("127.0.0.1", "files.example.org")
        for path, words in (("/moved", "private address 169"), ("/c.json", "private address 127")):
            with pytest.raises(InputError, match=words):
                read_document(f"{public}{path}", Documents(public, Access()))
    assert it.paths() == ["/moved"]


@pytest.mark.parametrize("name", ["http_proxy", "ALL_PROXY"])
def test_documents_take_the_users_proxy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with scripted(lambda _: Answer(b'{"id": 1}')) as users:
        monkeypatch.setenv(name, users.url.replace("//", "//me:secret@"))
        where = "http://unknown.example.org/c.json"
        assert read_document(where, Documents(where)) == {"id": 1}
    (asked,) = users.requests
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    monkeypatch.setenv(name, "socks5://127.0.0.1:1")
    with pytest.raises(InputError, match=r"proxy socks5://127.0.0.1:1 .* only http"):
        read_document(where, Documents(where))


CHILD = """
import sys, time
from terralatent.catalogs.documents import proxy
print(proxy._running().port, proxy._running().secret, flush=True)
time.sleep(600)
"""


def test_each_process_has_its_own_which_ends_with_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port, secret = process.stdout.readline().split()
    ours = proxy._running()
    assert (int(port), secret) != (ours.port, ours.secret)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    def has_ended() -> bool:
        try:
            socket.create_connection(("127.0.0.1", int(port)), timeout=5).close()
        except OSError:
            return True
        return False

    until(has_ended)


def test_one_that_was_killed_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with own_proxy(monkeypatch), scripted(lambda _: Answer(b"{}")) as it:
        documents = Documents(it.url)
        assert read_document(it.url, documents) == {}
        killed = proxy._running().process
        killed.kill()
        killed.communicate()
        assert read_document(it.url, documents) == {}
        assert gdal_settings(OWN)["GDAL_HTTP_PROXY"].endswith(str(proxy._running().port))
