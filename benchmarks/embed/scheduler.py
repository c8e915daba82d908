"""What a Dask scheduler in a process of its own knows and holds while simulated blocks stream by.

Every block writes one number, so that the scheduler and the coordinator are all there is to see.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import zarr
from distributed import Client

from benchmarks.embed.task_count import MostTasks, most_tasks
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.cluster.stream import Commits, Work, stream_blocks
from terralatent.pipeline.mapping.block import BlockDone
from terralatent.pipeline.store.arrays import ArrayLayout, GroupLayout, Layout, coordinate
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.repository import Store

ROOT = Path(__file__).resolve().parents[2]

__all__ = ["load_scheduler"]

WORKERS = 2
EVERY = 50
"""Blocks between two readings of the memory."""

READINGS = 5
"""Readings of the memory whose median counts."""

START_S = 60
"""How long a scheduler has to start."""


class Memory:
    """A progress that reads the memory of processes as blocks are done."""

    def __init__(self, **processes: int) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in processes.items()}
        self._done = 0
        self.held: dict[str, list[tuple[int, float]]] = {name: [] for name in processes}

    def start(self, total: int, title: str) -> None:
        """Nothing is to be begun."""

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Read the memory now and then."""
        self._done += n
        if self._done % EVERY == 0:
            for name, process in self._processes.items():
                self.held[name].append((self._done, process.memory_info().rss / 1e6))

    def close(self) -> None:
        """Nothing is to be ended."""

    def near(self, name: str, done: int) -> float:
        """MB that a process held when so many blocks were done: the median of some readings."""
        return median([held for at, held in self.held[name] if at <= done][-READINGS:])


def load_scheduler(folder: Path, first: int, last: int) -> None:
    """Stream ``last`` simulated blocks and print tasks, memory at block ``first`` and growth."""
    folder.mkdir()
    store = folder / "store"
    blank = ArrayLayout("data", ("task",), (last,), "int32", (1,), fill_value=-1)
    state = coordinate("state", ("task",), np.zeros(last, np.uint8))
    lay_out(Store.of(store), Layout("latents", {}, (GroupLayout("", (blank, state)),)))
    with _cluster(folder) as (address, scheduler), client_for(address) as client:
        client.register_plugin(MostTasks())
        memory = Memory(scheduler=scheduler, coordinator=os.getpid())
        in_flight = 2 * sum(client.nthreads().values())
        began = time.perf_counter()
        failures = stream_blocks(
            client, Store.of(store), range(last), Work(_write, _record),
            Commits(message="simulate"), in_flight=in_flight, progress=memory,
        )  # fmt: skip
        wall = time.perf_counter() - began
        most = client.run_on_scheduler(most_tasks)
    if failures:
        raise RuntimeError(f"a simulated block failed: {failures[0].reason}")
    print(f"{last:,} simulated blocks: {wall:.0f} s, {wall / last * 1e3:.1f} ms a block")
    print(f"tasks known to the scheduler at most: {most}, with {in_flight} in flight "
          f"(wanted: at most {2 * in_flight})")  # fmt: skip
    for name in memory.held:
        before, after = memory.near(name, first), memory.near(name, last)
        wanted = " (wanted: at most 10)" if name == "scheduler" else ""
        print(f"memory of the {name}, {first:,} to {last:,} blocks: {before:.1f} to {after:.1f} "
              f"MB, {after - before:+.1f} MB{wanted}")  # fmt: skip


@contextmanager
def _cluster(folder: Path) -> Iterator[tuple[str, int]]:
    """Start `dask scheduler` and two `dask worker`; yield the address and the scheduler's id."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    address_file, log = folder / "scheduler.json", folder / "dask.log"
    commands = [
        ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--scheduler-file", str(address_file)],
        ["worker", "--scheduler-file", str(address_file), "--nthreads", "1", "--no-dashboard",
         "--nworkers", str(WORKERS), "--local-directory", str(folder)],
    ]  # fmt: skip
    with ExitStack() as stack, log.open("wb") as output:
        started = []
        for command in commands:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                env=environment, stdout=output, stderr=output,
            )  # fmt: skip
            stack.callback(_end, process)
            started.append(process)
        with Client(
            scheduler_file=str(address_file), timeout=START_S, set_as_default=False
        ) as client:
            client.wait_for_workers(WORKERS, timeout=START_S)
            address = client.scheduler_info()["address"]
        yield address, started[0].pid


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _write(group: zarr.Group, task: int) -> BlockDone:
    group["data"][task] = task
    return BlockDone(1, 0, {"read": 0.0, "infer": 0.0, "write": 0.0})


def _record(group: zarr.Group, task: int, done: BlockDone) -> None:
    group["state"][task] = done.pixels
