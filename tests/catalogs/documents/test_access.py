"""What a catalogue may name is read, and nothing else, whatever it is disguised as."""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from terralatent.catalogs.documents import access as access_module
from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import HrefError, absolute_href, bare_href
from terralatent.catalogs.sources.sources import resolve_source

SECRET = "s3cr3t"


def addresses(*leads_to: str) -> Any:
    """A resolver by which every name has these addresses."""
    return lambda *_, **__: [(0, 0, 0, "", (address, 0)) for address in leads_to]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    access_module._addresses.cache_clear()
    yield
    access_module._addresses.cache_clear()


VIRTUAL = [
    "/vsicurl/http://host.org/a.tif",
    "//vsicurl/http://host.org/a.tif",
    "/data/../vsizip//vsicurl/http://host.org/a.zip/a.tif",
    "/vsimem/a.tif",
    "/vsistdin/",
    "http:///vsicurl/a.tif",
    "https:/vsicurl/a.tif",
    "zip+https://host.org/a.zip!a.tif",
    "zip:///data/catalogue/a.zip!a.tif",
    "tar+file:///data/catalogue/a.tar!a.tif",
    "GTIFF_RAW:/data/catalogue/a.tif",
    "GTIFF_DIR:1:/data/catalogue/a.tif",
    'HDF5:"/data/catalogue/a.h5"://b',
    "vrt:///data/catalogue/a.tif?bands=1",
    "<VRTDataset/>",
    '{"a": 1}',
    "MEM:::DATAPOINTER=1",
    "ftp://host.org/a.tif",
    "gs://bucket/a.tif",
    "data:image/tiff;base64,AAAA",
    "javascript:alert(1)",
    "a.tif",
    "../a.tif",
    "s3://bucket",
    "s3:///a.tif",
    "s3://bucket/../other/a.tif",
]

PRIVATE = [
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "redis",
    "metadata.google.internal",
    "printer.local",
]

MISREAD = [
    "http://me:secret@host.org/a.tif",
    "http://me@host.org/a.tif",
    "http://host.org\\@127.0.0.1/a.tif",
    "http://host.org#@127.0.0.1:80@host.org/",
    "http://host.org /a.tif",
    "http://host.org/a b.tif",
    'http://host.org/a.tif?sig="x"',
    "http://%31%32%37.0.0.1/a.tif",
    "http://１２７.０.０.１/a.tif",
    "http://[fe80::1%25eth0]/a.tif",
    "http://[::1/a.tif",
    "http://host.org:port/a.tif",
    "http://host.org:999999/a.tif",
    "http://",
    "http://?a",
    "http://host.org/a.tif\nHost: other",
    "http://host.org/a\x00.tif",
    "http://host.org/\x1b[2J.tif",
    "/data/catalogue/a\n.tif",
    "/data/catalogue/a\x00.tif",
    "/data/catalogue/a\N{REPLACEMENT CHARACTER}.tif",
]

ABROAD = ["/etc/passwd", "/data/a.tif", "/data/catalogue/../a.tif", "/data/catalogue2/a.tif", "/"]


@pytest.mark.parametrize(
    "href", [*VIRTUAL, *MISREAD, *(f"http://{host}/a.tif" for host in PRIVATE)]
)
@pytest.mark.parametrize("access", [Access(), Access("/data/catalogue"), Access("/")], ids=str)
def test_what_nobody_may_name_is_refused(access: Access, href: str) -> None:
    with pytest.raises(HrefError, match="may not be read") as caught:
        access.check(href)
    assert str(caught.value).isprintable()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("href", [*ABROAD, *(f"file://{path}" for path in ABROAD)])
def test_files_outside_of_the_catalogues_folder_are_refused(href: str) -> None:
    for access in (Access("/data/catalogue"), Access()):
        with pytest.raises(HrefError, match=r"leaves the folder|file of this machine"):
            access.check(absolute_href(href, "/data/catalogue/item.json"))


@pytest.mark.parametrize("href", [None, "", 5, ["a"], {"href": SECRET}, b"a", True])
def test_an_href_that_is_no_text_is_refused(href: object) -> None:
    with pytest.raises(HrefError, match=r"no text|missing") as caught:
        Access("/").check(href)
    assert SECRET not in str(caught.value)


def test_files_of_another_host_are_not_those_of_this_one() -> None:
    href = absolute_href("file://host.org/data/catalogue/a.tif", "/data/catalogue/item.json")
    with pytest.raises(HrefError, match="neither a URL"):
        Access("/data/catalogue").check(href)
    for own in ("file:///data/catalogue/a%20b.tif", "file://localhost/data/catalogue/a%20b.tif"):
        path = absolute_href(own, "/data/catalogue/item.json")
        assert Access("/data/catalogue").check(path) == "/data/catalogue/a b.tif"


def test_public_urls_objects_and_own_files_are_read() -> None:
    for href in (
        "https://host.org/a.tif",
        "http://host.org:8080/a%20b/c.tif?sig=a%2Bb%3D&se=2026-01-01T00:00:00Z",
        "HTTPS://Host.Org/a.tif#0",
        "https://8.8.8.8/a.tif",
        "https://[2600::1]/a.tif",
        "s3://sentinel-cogs/a/b.tif",
    ):
        assert Access().check(href) == href
    assert Access("/data/catalogue").check("/data/catalogue/x/../a.tif") == "/data/catalogue/a.tif"


def test_links_are_followed_before_a_file_is_checked(tmp_path: Path) -> None:
    folder, outside = tmp_path / "catalogue", tmp_path / "outside"
    for place in (folder, outside):
        place.mkdir()
        (place / "a.tif").write_text("a")
    (folder / "out.tif").symlink_to(outside / "a.tif")
    (folder / "out").symlink_to(outside)
    (folder / "in.tif").symlink_to(folder / "a.tif")
    (tmp_path / "link").symlink_to(folder)
    for access in (Access.of(str(folder)), Access.of(str(tmp_path / "link"))):
        assert access.check(str(folder / "in.tif")) == str(folder / "a.tif")
        assert access.check(str(tmp_path / "link" / "a.tif")) == str(folder / "a.tif")
        for name in ("out.tif", "out/a.tif", "out/../outside/a.tif"):
            with pytest.raises(HrefError, match="leaves the folder"):
                access.check(str(folder / name))


def test_a_source_that_names_hosts_is_held_to_them() -> None:
    access = Access(hosts=("*.blob.core.windows.net", "files.intern", "s3://eodata"), own="api.org")
    for href in (
        "https://a.blob.core.windows.net/a.tif",
        "http://FILES.intern:9000/a.tif",
        "https://api.org/a.tif",
        "s3://eodata/a.jp2",
    ):
        assert access.check_now(href) == href
    for href in (
        "https://host.org/a.tif",
        "https://blob.core.windows.net.host.org/a.tif",
        "https://host.org/a.blob.core.windows.net/a.tif",
        "https://host.org/?a.blob.core.windows.net",
        "http://files.intern.host.org/a.tif",
        "s3://other/a.jp2",
        "http://127.0.0.1/a.tif",
    ):
        with pytest.raises(HrefError, match="names other hosts"):
            access.check(href)


def test_the_host_that_the_user_named_may_be_private_and_no_other() -> None:
    for where in ("http://127.0.0.1:7822", "http://localhost:7822/v1", "http://me:pw@[::1]:1/v1"):
        access = Access.of(where)
        for host in ("127.0.0.1:7823", "localhost:80", "[::1]:99"):
            assert access.check_now(f"http://{host}/a.tif")
            assert access.is_own(f"http://{host}/a.tif")
        for other in ("http://10.0.0.1/a.tif", "http://169.254.169.254/latest"):
            with pytest.raises(HrefError, match="private"):
                access.check(other)
    intern = Access.of("http://stac.intern/v1")
    assert intern.check_now("http://stac.intern:9000/a.tif")
    for other in ("http://localhost/a.tif", "http://files.intern.local/a.tif"):
        with pytest.raises(HrefError, match="private"):
            intern.check(other)
        assert not intern.is_own(other)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0"])
def test_a_name_that_leads_to_a_private_address_is_refused_when_it_is_read(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", addresses("8.8.8.8", address))
    href = f"https://rebind.host.org/a.tif?sig={SECRET}"
    assert Access().check(href) == href
    with pytest.raises(HrefError, match="leads to the private address") as caught:
        Access().check_now(href)
    assert SECRET not in str(caught.value)
    for named in (Access(hosts=("*.host.org",)), Access(own="rebind.host.org")):
        assert named.check_now(href) == href


def test_a_name_that_nobody_knows_is_left_to_whoever_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And looked up once a minute: where no name server answers, that takes many seconds."""
    looked_up = []

    def unknown(host: str, *_: object, **__: object) -> None:
        looked_up.append(host)
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(access_module.time, "monotonic", lambda: 6000.0)
    for name in ("a.tif", "b.tif"):
        assert Access().check_now(f"https://no.host.org/{name}")
    assert looked_up == ["no.host.org"]
    monkeypatch.setattr(socket, "getaddrinfo", addresses("8.8.8.8"))
    assert Access().check_now("https://public.host.org/a.tif")


PIECES = st.sampled_from(
    [
        *("http", "https", "s3", "file", "vsicurl", "vsizip", "zip+", ":", "://", "/", "//", "\\"),
        *("..", ".", "@", "#", "?", "%2e", "%00", "\0", "\n", " ", "[", "]", "::1", "a", "a.tif"),
        *("host.org", "127.0.0.1", "localhost", "data", "catalogue", "etc/passwd", "é", "\ud800"),
    ]
)


@settings(deadline=None, max_examples=500, derandomize=True)
@given(st.lists(PIECES, max_size=9).map("".join))
@example("http://a/\ud800")
def test_every_text_is_refused_or_one_of_three_things(href: str) -> None:
    """The oracle reads a URL by another library, and a path by the system."""
    access = Access("/data/catalogue", own="host.org")
    absolute = absolute_href(href, "/data/catalogue/item.json")
    with suppress(HrefError):
        checked = access.check(absolute)
        if checked.startswith("/"):
            assert os.path.realpath(checked) == checked
            assert (checked + "/").startswith("/data/catalogue/")
        else:
            parts = urlsplit(checked)
            assert parts.scheme in ("http", "https", "s3")
            assert "@" not in parts.netloc
            assert parts.scheme == "s3" or "." in str(parts.hostname)
            assert parts.hostname not in ("127.0.0.1", "localhost")
    assert bare_href(href).isprintable()


def test_an_access_is_json_and_can_be_pickled_and_is_checked_at_birth() -> None:
    for access in (Access(), Access("/data", ("*.org", "s3://b"), "host")):
        assert Access.from_json(json.loads(json.dumps(access.to_json()))) == access
        assert pickle.loads(pickle.dumps(access)) == access
    for wrong in ("x", {"folder": "data"}, {"hosts": "x"}, {"hosts": [5]}, {"own": 5}, {"all": 1}):
        with pytest.raises(ValueError, match="access"):
            Access.from_json(wrong)
    with pytest.raises(InputError, match="without a host"):
        resolve_source("http://[")
