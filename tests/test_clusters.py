"""A client from a name or an address, and the threads of its workers."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress

import pytest
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.clusters import client_for


def threads_of_a_worker() -> tuple[int, int, str | None]:
    import torch
    import zarr

    pool = zarr.config.get("threading.max_workers")
    return torch.get_num_threads(), pool, os.environ.get("OMP_NUM_THREADS")


def hears_ctrl_c() -> bool:
    return signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_local_workers_are_processes_with_one_thread_for_each_task() -> None:
    with client_for("local", workers=1, memory="1GB") as client:
        here = client.scheduler_info()["address"]
        process = client.submit(os.getpid).result()
        assert client.submit(threads_of_a_worker).result() == (1, 1, "1")
        assert list(client.nthreads().values()) == [1]
        assert not client.submit(hears_ctrl_c).result()
        assert next(iter(client.scheduler_info()["workers"].values()))["memory_limit"] == 10**9
        assert client.dashboard_link.startswith("http://127.0.0.1:")
        assert process != os.getpid()
        with client_for(here) as other:
            assert other.submit(os.getpid).result() == process
        assert client.submit(abs, -1).result() == 1, "a cluster that was joined lives on"


def test_a_client_is_taken_as_it_is(workers: Client) -> None:
    with client_for(workers) as client:
        assert client is workers
    assert workers.status == "running"


def test_workers_that_compute_are_not_waited_for_after_an_interrupt() -> None:
    with suppress(KeyboardInterrupt), client_for("local", workers=1) as client:
        process = client.submit(os.getpid).result()
        client.submit(time.sleep, 600)
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_an_address_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terralatent.pipeline.clusters.ANSWER_WITHIN_S", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with (
        pytest.raises(InputError, match=f"No Dask scheduler answers at {address}"),
        client_for(address),
    ):
        pass


@pytest.mark.parametrize(
    ("where", "memory", "words"),
    [
        (
            "slrum",
            None,
            "neither `local`, `slurm`, `kubernetes`, `gateway`, `cuda` nor the address",
        ),
        ("carrier://pigeon", None, "No Dask scheduler answers at carrier://pigeon"),
        ("local", "much", "Memory 'much' is no size"),
        ("local", "8MB", "takes 100 MB before it has read anything, more than the 8MB"),
    ],
)
def test_what_is_no_cluster_is_refused(where: str, memory: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words), client_for(where, memory=memory):
        pass
