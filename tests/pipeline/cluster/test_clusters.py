"""A client from a name or an address, and the threads of its workers."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client
from packaging.requirements import Requirement

from terralatent.catalogs.errors import InputError
from terralatent.models import compiled
from terralatent.pipeline import embed
from terralatent.pipeline.cluster import client as clients
from terralatent.pipeline.cluster import kinds
from terralatent.pipeline.cluster.client import Workers, client_for, workers_of
from terralatent.pipeline.cluster.kinds import KINDS
from terralatent.pipeline.cluster.local import Size
from terralatent.pipeline.cluster.workers import COMPILING
from tests.made.opened import Stores
from tests.waiting import WITHIN_S

ROOT = Path(__file__).resolve().parents[3]


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
        with Client(here, security=client.security) as own, client_for(own) as other:
            assert other.submit(os.getpid).result() == process
        assert client.submit(abs, -1).result() == 1, "a cluster that was joined lives on"


NOTICES = """
import logging, sys, time
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.cluster.workers import COMPILING

def compile_something():
    logging.getLogger(COMPILING).info("compiling")

if __name__ == "__main__":
    said = []
    logging.getLogger(COMPILING).addHandler(logging.StreamHandler(sys.stdout))
    logging.getLogger(COMPILING).addFilter(lambda record: said.append(record) or True)
    logging.getLogger(COMPILING).setLevel(logging.INFO)
    with client_for("local", workers=2, memory="1GB") as client:
        for _ in range(2):
            client.run(compile_something)
        while not said:
            time.sleep(0.05)
"""


def test_what_workers_say_of_their_compiling_is_logged_here_once_for_all(tmp_path: Path) -> None:
    assert compiled.__name__ == COMPILING
    script = tmp_path / "script.py"
    script.write_text(NOTICES)

    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=WITHIN_S
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "compiling\n"


def test_no_more_processes_are_started_than_there_are_blocks(
    stores: Stores, workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def start(*_: Any, **size: Any) -> Any:
        started.append(size["workers"])
        return nullcontext(workers)

    monkeypatch.setattr(clients, "client_for", start)
    for count in (64, 3):
        embed(stores["cube"], stores["model"], tmp_path / str(count), workers=count)

    assert started == [4, 3], "the cube has 4 blocks"
    assert Workers("slurm", 64).at_most(4).count == 64, "a cluster may grow and shrink"


def test_a_script_that_does_not_say_that_it_is_the_main_one_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    calls = "from terralatent.pipeline.cluster.client import client_for\nwith client_for(): pass\n"
    script.write_text(calls)

    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=WITHIN_S
    )

    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert 'must start them below `if __name__ == "__main__":`' in last, ended.stderr


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
    monkeypatch.setattr("terralatent.pipeline.cluster.client.ANSWER_WITHIN_S", 0.3)
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


@pytest.mark.parametrize("kind", sorted({"kubernetes", "gateway", "cuda"}))
def test_a_missing_library_is_named_with_the_command_that_installs_it(kind: str) -> None:
    library = KINDS[kind]
    if importlib.util.find_spec(library.module.split(".")[0]) is not None:
        pytest.skip(f"{library.package} is here")
    wanted = f'needs {library.package}, which is not here. Type: pip install "terralatent[{kind}]"'
    with pytest.raises(InputError, match=re.escape(wanted)), client_for(kind):
        pass


def test_each_kind_of_cluster_has_its_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for name, kind in KINDS.items():
        assert [Requirement(line).name for line in extras[name]] == [kind.package]


def test_without_sbatch_no_job_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    hearing = signal.getsignal(signal.SIGINT)
    with pytest.raises(InputError, match="sbatch, which is not on PATH"), client_for("slurm"):
        pass
    assert signal.getsignal(signal.SIGINT) is hearing, "libraries may not take Ctrl-C away"


SBATCH = """\
#!/bin/sh
if grep -q SLURMCluster-1 "$1"; then echo "sbatch: error: too many jobs" >&2; exit 1; fi
echo "Submitted batch job $$"
"""


def test_the_jobs_that_slurm_takes_do_the_work_where_it_refuses_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, script in (("sbatch", SBATCH), ("scancel", "#!/bin/sh\n")):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    warnings: list[str] = []
    monkeypatch.setattr(kinds.log, "warning", lambda text, *values: warnings.append(text % values))
    size = {"jobqueue.slurm.cores": 1, "jobqueue.slurm.memory": "1GB"}

    with dask.config.set(size), KINDS["slurm"].request(Size(workers=3)) as request:
        assert re.fullmatch(r"2 SLURM jobs \(\d+, \d+\)", request.what)

    assert warnings == ["SLURM took 2 jobs of 3: sbatch: error: too many jobs"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_who_would_work_is_counted_without_starting_any(kind: str) -> None:
    assert workers_of(kind) == 1
    assert workers_of(kind, 7) == 7
    assert workers_of("local", 3) == 3
    with pytest.raises(InputError, match="neither `local`"):
        workers_of("slrum")
