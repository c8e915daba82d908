"""Whatever a server does, a document comes, or it is given up: in time, and within bounds."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planetary_computer import sas
from planetary_computer.settings import Settings

from terralatent.catalogs.documents import patience, proxy, static
from terralatent.catalogs.documents.fetch import Documents, failures, open_api, read_document
from terralatent.catalogs.documents.static import walk
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.tokens import with_token
from tests.made.catalogue import region
from tests.servers.names import own_proxy
from tests.servers.scripted import Answer, Request, scripted
from tests.waiting import until

MIB = 1 << 20
ROOT = {"type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "d", "links": []}


def search(url: str) -> None:
    search_scenes(url, region(), "2018-05-01", "2018-05-31")


def api(url: str) -> None:
    with failures(url):
        open_api(url)


READERS: dict[str, Callable[[str], object]] = {
    "document": lambda url: read_document(f"{url}/c.json", Documents(url)),
    "api": api,
    "catalogue": lambda url: list(walk(f"{url}/c.json")),
    "parquet": lambda url: list(walk(f"{url}/items.parquet")),
    "search": search,
}


def has_started() -> bool:
    with scripted(lambda _: Answer(b"{}")) as it, suppress(InputError):
        return read_document(it.url, Documents(it.url)) == {}
    return False


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A document has half a second."""
    monkeypatch.setattr(proxy, "ANSWER_S", 0.5)
    with own_proxy(monkeypatch):
        until(has_started, "the proxy")
        monkeypatch.setattr(patience, "DEADLINE_S", 0.5)
        yield


@pytest.mark.parametrize(
    ("reader", "drip", "moved"),
    [
        *(("document", 0.02, False), ("document", -0.02, True), ("api", -0.02, False)),
        *(("parquet", 0.02, True), ("parquet", -0.02, False), ("search", 0.02, True)),
    ],
)
def test_who_sends_byte_after_byte_is_given_up(
    hurried: None, reader: str, drip: float, moved: bool
) -> None:
    body = json.dumps({**ROOT, "description": "d" * 1000}).encode()

    def answer(request: Request) -> Answer:
        if moved and request.path != "/moved":
            return Answer(b"gone", 302, {"location": "/moved"})
        return Answer(body, drip=drip)

    with scripted(answer) as it, pytest.raises(InputError, match=r"not come whole within 0\.5 s"):
        READERS[reader](it.url)


TOKEN = json.dumps({"msft:expiry": "2100-01-01T00:00:00Z", "token": "sig=of-nobody"}).encode()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (Answer(TOKEN, drip=0.02), r"not come whole within 0\.5 s"),
        (Answer(TOKEN, drip=-0.02), r"not come whole within 0\.5 s"),
        (Answer(b"moved", 302, {"location": "http://169.254.169.254/"}), "no token of"),
        (Answer(b"[]"), "no token of"),
        (Answer(b"{}"), "no token of"),
        (Answer(b"busy", 503, {"retry-after": "20000000"}), r"to wait \d{5,} s"),
    ],
)
def test_a_service_of_tokens_is_given_up_as_any_other(
    hurried: None, given: Answer, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted(lambda _: given) as it:
        monkeypatch.setenv("PC_SDK_SAS_URL", f"{it.url}/tokens")
        Settings.get.cache_clear()
        sas.TOKEN_CACHE.clear()
        with pytest.raises(OSError, match=words) as caught:
            with_token("https://account.blob.core.windows.net/tiles/a.tif")
    Settings.get.cache_clear()
    assert "of-nobody" not in str(caught.value)
    assert [request.path for request in it.requests] == ["/tokens/account/tiles"] * len(it.requests)


@pytest.mark.parametrize(("reader", "status"), [*zip(READERS, [429, 503] * 3, strict=False)])
def test_who_asks_for_more_than_a_minute_is_given_up(reader: str, status: int) -> None:
    busy = Answer(b"busy", status, {"retry-after": "20000000"})
    with scripted(lambda _: busy) as it, pytest.raises(InputError, match=r"to wait \d{5,} s"):
        READERS[reader](it.url)
    assert len(it.requests) == 1


BOMBS = {
    "gzip": gzip.compress(b" " * (16 * MIB), 9),
    "deflate": zlib.compress(b" " * (16 * MIB), 9),
    "gzip, gzip": gzip.compress(gzip.compress(b" " * (16 * MIB), 9), 9),
}


@pytest.mark.parametrize("reader", ["document", "parquet", "search"])
@pytest.mark.parametrize(
    ("kind", "status"), [*((kind, 200) for kind in BOMBS), ("gzip", 302), ("gzip", 404)]
)
def test_what_decompresses_to_more_than_a_document_may_hold_is_given_up(
    monkeypatch: pytest.MonkeyPatch, reader: str, kind: str, status: int
) -> None:
    monkeypatch.setattr(patience, "MOST_BYTES", MIB)
    monkeypatch.setattr(patience, "MOST_FILE_BYTES", MIB)
    bomb = Answer(BOMBS[kind], status, {"content-encoding": kind, "location": "/a"})
    tracemalloc.start()
    with scripted(lambda _: bomb) as it, pytest.raises(InputError, match=r"more than 1 MiB|404"):
        READERS[reader](it.url)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * MIB


def test_an_answer_to_be_tried_again_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience._Patience, "get_backoff_time", lambda _: 0.0)
    content = b" " * (16 * MIB)
    tracemalloc.start()
    with scripted(lambda _: Answer(content, 503)) as it, pytest.raises(InputError, match="503"):
        READERS["document"](it.url)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(it.requests) == 6
    assert peak < 6 * MIB


def test_a_document_that_is_cut_short_is_no_document() -> None:
    body = json.dumps(ROOT).encode()
    for reader in ("document", "api", "parquet"):
        cut = Answer(body, headers={"content-length": str(len(body) + 9), "connection": "close"})
        with scripted(lambda _, cut=cut: cut) as it, pytest.raises(InputError, match=it.url):
            READERS[reader](it.url)


def test_parquet_is_read_whose_rows_are_within_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"id": pa.array(["a"] * 1000)}), path)
    monkeypatch.setattr(static, "MOST_ROWS", 999)
    with scripted(lambda _: Answer(path.read_bytes())) as it:
        for where in (str(path), f"{it.url}/items.parquet"):
            with pytest.raises(InputError, match="it holds 1,000 items"):
                list(walk(where))
