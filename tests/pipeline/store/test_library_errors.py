"""Each error of a library that is known by name is really raised so, in the versions installed."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import icechunk
import numcodecs
import numpy as np
import obstore
import pytest
import zarr
from obstore.exceptions import BaseError
from obstore.store import from_url

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.store.arrays import GroupLayout, Layout
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.damage import damage_of, translated_errors
from terralatent.pipeline.store.digests import unseal
from terralatent.pipeline.store.history import expire, history
from terralatent.pipeline.store.library_errors import (
    CHANGED,
    OBJECT_STORE,
    Known,
    is_changed,
    is_of_objects,
    is_taken,
    trouble_of,
)
from terralatent.pipeline.store.repository import Store

GOOGLE = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """Serve one answer to every request; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_GET = do_HEAD = do_PUT = do_POST = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def listening(*, reset: bool) -> Iterator[str]:
    """Take connections and say nothing, or reset them; gives the URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                    connection.recv(1)
                except OSError:
                    return
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

        if reset:
            threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def get(url: str, scheme: str = "s3", **options: Any) -> BaseException:
    """What obstore raises where it reads an object, with credentials unless others are given."""
    options = (
        options
        or {
            "s3": {"access_key_id": "a", "secret_access_key": "b"},
            "az": {"account_name": "a", "account_key": "c2VjcmV0"},
            "gs": {"service_account_key": json.dumps({**GOOGLE, "gcs_base_url": url})},
        }[scheme]
    )
    where = {"s3": {"endpoint": url, "region": "us-east-1"}, "az": {"endpoint": url}, "gs": {}}
    store = from_url(
        f"{scheme}://box",
        client_options={"allow_http": True, "timeout": timedelta(seconds=0.5)},
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
        **{**where[scheme], **options},
    )
    with pytest.raises((BaseError, FileNotFoundError)) as caught:
        obstore.get(store, "key")
    return caught.value


def open_repository(url: str, **options: Any) -> icechunk.IcechunkError:
    """What Icechunk raises where it opens a repository, with credentials or what else is given."""
    icechunk.set_logs_filter("off")
    options = options or {"access_key_id": "a", "secret_access_key": "b"}
    storage = icechunk.s3_storage(
        bucket="box", prefix="cube", region="us-east-1", endpoint_url=url, allow_http=True,
        force_path_style=True, **options,
    )  # fmt: skip
    retries = icechunk.StorageRetriesSettings(
        max_tries=1, initial_backoff_ms=10, max_backoff_ms=100
    )
    config = icechunk.RepositoryConfig(storage=icechunk.StorageSettings(retries=retries))
    with pytest.raises(icechunk.IcechunkError) as caught:
        icechunk.Repository.open(storage, config)
    return caught.value


def answer(code: str) -> str:
    if code.islower():  # of Google's tokens
        return json.dumps({"error": code, "error_description": "Bad Request"})
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>"


CODES = [(known, code) for known in OBJECT_STORE for code in known.codes]


@pytest.mark.parametrize(("known", "code"), CODES, ids=[code for _, code in CODES])
@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_code_is_known_in_what_a_client_raises(known: Known, code: str, status: int) -> None:
    means = known.means.format(keys="KEYS", where="there", code=code)
    with answering(status, answer(code)) as url:
        for scheme in ("s3", "az", "gs"):
            error = get(url, scheme)
            assert is_of_objects(error)
            assert trouble_of(error, "KEYS", "there") == means


def test_a_code_is_known_in_what_icechunk_raises() -> None:
    with answering(404, answer("NoSuchBucket")) as url:
        assert "no such bucket" in str(damage_of(open_repository(url)))


def test_an_object_that_is_not_there_is_no_trouble() -> None:
    with answering(404, answer("NoSuchKey")) as url:
        assert trouble_of(get(url)) is None


def typed(status: int) -> Callable[[pytest.MonkeyPatch], list[BaseException]]:
    def errors(_: pytest.MonkeyPatch) -> list[BaseException]:
        with answering(status, "no") as url:
            return [get(url, scheme) for scheme in ("s3", "az", "gs")]

    return errors


def without_keys(patch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
            patch.delenv(name)
    patch.setenv("HOME", "/nowhere")


def keyless_clients(patch: pytest.MonkeyPatch) -> list[BaseException]:
    without_keys(patch)
    return [
        get("http://127.0.0.1:9", "s3", skip_signature=False),
        get("http://127.0.0.1:9", "az", account_name="a"),
        get("http://127.0.0.1:9", "gs", skip_signature=False),
    ]


def keyless_icechunk(patch: pytest.MonkeyPatch) -> list[BaseException]:
    without_keys(patch)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return [open_repository("http://127.0.0.1:9", from_env=True)]


def no_bucket(_: pytest.MonkeyPatch) -> list[BaseException]:
    with answering(404, "The specified bucket does not exist.") as url:
        return [get(url, "gs")]


def redirected(_: pytest.MonkeyPatch) -> list[BaseException]:
    with answering(301, answer("PermanentRedirect")) as url:
        return [get(url)]


def busy(_: pytest.MonkeyPatch) -> list[BaseException]:
    errors = []
    for status in (429, 500, 502, 503, 504):
        with answering(status, "later") as url:
            errors.append(get(url))
    return errors


def refused(_: pytest.MonkeyPatch) -> list[BaseException]:
    return [get("http://127.0.0.1:9")]


def unknown_host(_: pytest.MonkeyPatch) -> list[BaseException]:
    return [get("http://nowhere.invalid")]


def silent(_: pytest.MonkeyPatch) -> list[BaseException]:
    with listening(reset=False) as url:
        return [get(url)]


def reset(_: pytest.MonkeyPatch) -> list[BaseException]:
    with listening(reset=True) as url:
        return [get(url)]


PROVOKED = {
    r"169\.254\.169\.254|metadata\.google": keyless_clients,
    r"loading credentials|credential provider": keyless_icechunk,
    "UnauthenticatedError": typed(401),
    "PermissionDeniedError": typed(403),
    r"[Bb]ucket does not exist": no_bucket,
    r"incorrectly configured region": redirected,
    r"Connection refused": refused,
    r"dns error": unknown_host,
    r"TimedOut|timeout error": silent,
    r"kind: Connect|dispatch failure|error sending request": reset,
    r"status code: (429 Too Many|50[0234] [A-Z]\w+)": busy,
}
"""What raises errors that are known by words or type."""


@pytest.mark.parametrize(
    "known", [known for known in OBJECT_STORE if not known.codes],
    ids=lambda known: known.words or known.type.__name__,
)  # fmt: skip
def test_words_and_types_are_those_of_errors_that_are_raised(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = known.words or known.type.__name__  # type: ignore[union-attr]
    errors = PROVOKED[sign](monkeypatch)
    assert errors
    for error in errors:
        assert is_of_objects(error)
        trouble = trouble_of(error, "{keys}", "{where}")
        assert trouble is not None
        before, code, after = known.means.partition("{code}")
        assert trouble.startswith(before), str(error)
        assert trouble.endswith(after)
        assert not code or known.code in trouble


@pytest.mark.slow  # Icechunk tries for half a minute
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:9", "refuses connections"),
        ("http://nowhere.invalid", "the host of its object store is not known"),
    ],
)
def test_icechunk_says_the_same_of_connections(url: str, words: str) -> None:
    assert words in str(damage_of(open_repository(url)))


@pytest.fixture
def whole(tmp_path: Path) -> icechunk.Repository:
    icechunk.set_logs_filter("off")
    storage = icechunk.local_filesystem_storage(str(tmp_path / "whole"))
    repository = icechunk.Repository.create(storage)
    session = repository.writable_session("main")
    group = zarr.open_group(session.store, mode="a")
    values = np.random.default_rng(0).integers(0, 9999, (64, 64))
    group.create_array("a", data=values, chunks=(16, 16), shards=(64, 64))
    session.commit("write")
    return repository


def changed(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


ZARR_S_OWN = "zarr.core.codec_pipeline.BatchedCodecPipeline"
"""Through which an error comes as Icechunk raised it."""

DAMAGED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "early eof": ("manifests/*", lambda content: content[:10]),
    "incomplete frame": ("manifests/*", lambda content: content[:-1]),
    "Data corruption detected": (
        "manifests/*",
        lambda content: changed(content, len(content) // 2),
    ),
    "invalid magic numbers": ("manifests/*", lambda content: changed(content, 0)),
    "cannot serialize ref json": ("refs/*/*", lambda content: content[:10]),
    "bytes long": ("chunks/*", lambda content: content[:10]),
}
"""Words, the file that is changed, and how."""


@pytest.mark.parametrize("words", CHANGED)
def test_words_are_those_that_damage_raises(
    words: str, whole: icechunk.Repository, tmp_path: Path
) -> None:
    pattern, change = DAMAGED[words]
    for file in (tmp_path / "whole").glob(pattern):
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(change(content))

    def read() -> None:
        storage = icechunk.local_filesystem_storage(str(tmp_path / "whole"))
        session = icechunk.Repository.open(storage).readonly_session("main")
        with zarr.config.set({"codec_pipeline.path": ZARR_S_OWN}):
            zarr.open_group(session.store, mode="r")["a"][...]

    with pytest.raises(icechunk.IcechunkError) as caught:
        read()

    assert words in str(caught.value)
    assert is_changed(caught.value)
    assert "was cut short or changed" in str(damage_of(caught.value))


def test_the_name_of_a_tag_is_given_once(whole: icechunk.Repository) -> None:
    snapshot = whole.lookup_branch("main")
    whole.create_tag("name", snapshot)
    with pytest.raises(icechunk.IcechunkError) as there:
        whole.create_tag("name", snapshot)
    whole.delete_tag("name")
    with pytest.raises(icechunk.IcechunkError) as deleted:
        whole.create_tag("name", snapshot)
    with pytest.raises(icechunk.IcechunkError) as absent:
        whole.delete_tag("another")

    assert is_taken(there.value)
    assert is_taken(deleted.value)
    assert not is_taken(absent.value)


def age(folder: Path, hours: int) -> None:
    """Let the last commit of a repository be of another time, as a wrong clock writes it."""
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(folder)))
    last = next(iter(repository.ancestry(branch="main")))
    path, zstd = folder / "snapshots" / last.id, numcodecs.Zstd(level=3)
    header, body = path.read_bytes()[:39], path.read_bytes()[39:]
    before = round(last.written_at.timestamp() * 1e6)
    plain = zstd.decode(body)
    assert plain.count(struct.pack("<Q", before)) == 1
    plain = plain.replace(
        struct.pack("<Q", before), struct.pack("<Q", before + hours * 3_600_000_000)
    )
    path.write_bytes(header + zstd.encode(plain))
    unseal(folder)


def test_a_commit_after_one_by_a_clock_that_was_ahead_is_refused_in_plain_words(
    tmp_path: Path,
) -> None:
    lay_out(Store.of(tmp_path / "s"), Layout("cube", {}, (GroupLayout("", ()),)))
    age(tmp_path / "s", 1000)
    store = Store.of(tmp_path / "s")
    assert store.group().attrs["terralatent"]["kind"] == "cube"  # it is read all the same
    session = store.repository().writable_session("main")
    zarr.open_group(session.store).attrs["more"] = 1
    words = "s cannot be written: its last state was committed at .*, ahead of this machine's clock"
    with pytest.raises(InputError, match=words), translated_errors(store):
        session.commit("later")
    assert history(store)[0].id == store.snapshot()
    expire(store, "0h")
    assert store.group().attrs["terralatent"]["kind"] == "cube"


def test_two_clocks_that_disagree_are_named() -> None:
    """As recorded where a machine's clock was 400 days ahead of its file server's."""
    error = icechunk.IcechunkError(
        "  x session error: snapshot timestamp is invalid, please verify if the machine clock has "
        "drifted: local clock: `2028-01-03 10:48:37.781949 UTC`, object store clock: "
        "`2026-11-29 10:48:37.784561795 UTC`"
    )
    assert damage_of(error) == (
        "cannot be written: this machine's clock says 2028-01-03 10:48:37 UTC, that of where the "
        "store lies 2026-11-29 10:48:37 UTC. Set the one that is wrong."
    )
