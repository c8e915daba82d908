"""Another user of the machine learns nothing of a cluster that runs, and runs nothing on it.

The attacker is a Python of the system with its standard library alone, under the number of a user
who owns nothing here. What it tries succeeds on a cluster of Dask's own defaults, which shows that
it is an attack.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.access import (
    job_prologue,
    own_keys,
    shared_folder,
    worker_flags,
)
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.dashboard import serve_pages
from tests.waiting import WITHIN_S

NOBODY = "65534"

ATTACK = """
import json, socket, ssl, sys
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import urlopen

PAGES = ("/info/main/workers.html", "/json/identity.json", "/json/counts.json", "/metrics",
         "/health", "/status", "/info/logs.html", "/api/v1/get_workers")

PATIENCE = float(sys.argv[1])

def words_of(connection):
    # Dask greets who connects; then it takes what functions it is sent.
    try:
        connection.settimeout(PATIENCE)
        return len(connection.recv(100))
    except (OSError, ssl.SSLError):
        return 0

def plain(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\\0" * 64)
        return words_of(connection)

def encrypted(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            with context.wrap_socket(connection) as wrapped:
                return words_of(wrapped)
    except (OSError, ssl.SSLError):
        return 0

def pages(port):
    found = []
    for page in PAGES:
        try:
            with urlopen(f"http://127.0.0.1:{port}{page}", timeout=PATIENCE) as answer:
                found.append((page, len(answer.read())))
        except HTTPError:
            pass
        except Exception:  # what is no HTTP
            break
    return found

def try_all(port):
    return {"plain": plain(port), "encrypted": encrypted(port), "pages": pages(port)}

ports = sys.argv[2:]
with ThreadPoolExecutor() as pool:
    print(json.dumps(dict(zip(ports, pool.map(try_all, map(int, ports))))))
"""


def system_python() -> str:
    """A Python that every user of this machine may run."""
    for folder in ("/usr/bin", "/usr/local/bin"):
        if (Path(folder) / "python3").exists():
            return f"{folder}/python3"
    pytest.skip("NOT TRIED: the system has no python3 that another user may run")


def attack(ports: set[int]) -> dict[str, dict[str, object]]:
    """Try the ports as another user; gives what each said."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("NOT TRIED: to be another user takes root and setpriv")
    user = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]
    done = subprocess.run(
        [*user, system_python(), "-I", "-c", ATTACK, "1", *map(str, sorted(ports))],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=True,
    )
    return dict(json.loads(done.stdout))


def listening() -> set[int]:
    """The ports on which this process and its children listen."""
    here = psutil.Process()
    connections = [
        connection
        for process in (here, *here.children(recursive=True))
        for connection in process.net_connections("tcp")
    ]
    return {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}


@contextmanager
def ports_of(where: str) -> Iterator[tuple[Client, set[int]]]:
    """Start a cluster, and find the ports that it opened."""
    before = listening()
    if where == "plain":
        with (
            LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0") as cluster,
            Client(cluster) as client,
        ):
            yield client, listening() - before
    else:
        with client_for(where, workers=1, memory="1GB") as client:
            yield client, listening() - before


def test_another_user_gets_no_word_out_of_a_cluster() -> None:
    with ports_of("local") as (client, ports):
        heard = attack(ports)

        assert len(ports) >= 4  # scheduler, nanny, worker and pages
        assert set(heard) == {str(port) for port in ports}
        for port, answers in heard.items():
            assert answers == {"plain": 0, "encrypted": 0, "pages": []}, port
        assert client.submit(sum, [1, 2]).result() == 3


def test_what_is_tried_works_where_nothing_is_protected() -> None:
    with ports_of("plain") as (_, ports):
        heard = attack(ports)

    assert any(answers["plain"] for answers in heard.values())
    assert any(answers["pages"] for answers in heard.values())


def test_pages_are_served_on_request_alone_and_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with dask.config.set({"terralatent.dashboard": False}):
        serve_pages()
        with caplog.at_level(logging.WARNING), ports_of("local") as (_, ports):
            heard = attack(ports)

        assert any(answers["pages"] for answers in heard.values())
        assert not any(answers["encrypted"] for answers in heard.values())
        assert "every user of this machine can read Dask's web pages" in caplog.text
        assert "--no-dashboard" not in worker_flags()
    assert "--no-dashboard" in worker_flags()


def test_the_keys_of_jobs_lie_where_nobody_else_can_read_and_end_with_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with shared_folder() as folder:
        assert folder.is_relative_to(tmp_path)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "key").write_text("secret")
    assert not folder.exists()
    assert list((tmp_path / "terralatent").iterdir()) == []

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with (
        pytest.raises(InputError, match="Set XDG_CACHE_HOME to a folder of yours"),
        shared_folder(),
    ):
        pass


def test_a_job_s_worker_serves_no_pages_and_runs_no_file_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "typing.py").write_text("raise SystemExit('a file of the folder was run')")
    script = (
        "import typing, dask, distributed; print(dask.config.get('distributed.worker.http.routes'))"
    )
    done = subprocess.run(
        ["bash", "-c", "\n".join((*job_prologue(), f'{sys.executable} -c "{script}"'))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "[]\n", done.stderr


def test_an_address_without_keys_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with (
        LocalCluster(
            n_workers=1, processes=False, protocol="tcp", dashboard_address=None
        ) as cluster,
        caplog.at_level(logging.WARNING),
    ):
        for _ in range(2):
            with client_for(cluster.scheduler_address):
                pass
    warned = [record for record in caplog.messages if "asks for no keys" in record]
    assert len(warned) == 1


def loops() -> int:
    """Count the event loops that Dask runs in threads of this process."""
    return sum(thread.name == "IO loop" for thread in threading.enumerate())


def test_an_address_that_asks_for_keys_is_refused_without_and_joined_with_them() -> None:
    security = own_keys()
    with LocalCluster(
        n_workers=1, processes=False, protocol="tls", security=security, dashboard_address=None
    ) as cluster:
        address, before = cluster.scheduler_address, loops()
        with pytest.raises(InputError, match="asks for keys, and Dask's configuration names none"):
            client_for(address).__enter__()
        # One that is left to be collected waits for the lock which the next one holds as it starts.
        assert loops() == before
        with Client(address, security=security) as joined, client_for(joined) as client:
            assert client.submit(abs, -1).result() == 1
