"""Clusters that are started for one command and end with it, each through its own library.

Each is configured by Dask's own files (``~/.config/dask/*.yaml``) and variables (``DASK_...``), and
what they say is not overridden here.
"""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing import resource_tracker
from types import ModuleType
from typing import Any

import dask
from distributed import Status

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.access import (
    LOOPBACK,
    job_prologue,
    own_keys,
    pages_settings,
    scheduler_options,
    shared_folder,
    worker_flags,
)
from terralatent.pipeline.cluster.local import Size, end_processes, memory_limit, process_settings
from terralatent.pipeline.interrupts import deaf_threads

__all__ = ["KINDS", "ClusterRequest", "Kind", "message_of"]

log = logging.getLogger(__name__)

_ended: list[Any] = []
"""Clusters of a gateway, kept until this process ends: one that is deleted before is closed a
second time by its library, which complains that it cannot."""

MORE_WORKERS = "; workers= requests more"
"""Added where neither the command nor the configuration says how many."""


@dataclass(frozen=True)
class ClusterRequest:
    """A cluster that was started, and what was requested of it."""

    cluster: Any
    """Dask's; its workers come when they can."""

    what: str
    """In words."""

    why_none: Callable[[], str | None] = lambda: None
    """Why no worker will ever come; None while there is hope."""


Start = Callable[[Any, Size], AbstractContextManager[ClusterRequest]]


@dataclass(frozen=True)
class Kind:
    """A kind of cluster that is requested by name."""

    name: str
    """As given to ``client=``, and of the extra that brings its library."""

    module: str
    """Of its library."""

    package: str
    """That has the module."""

    start: Start
    """Starts a cluster, by module and size; what was started ends with the ``with`` block."""

    hint: str
    """What to check where it cannot be started."""

    slow: bool = False
    """Whether its start may take long, and may be interrupted."""

    def request(self, size: Size) -> AbstractContextManager[ClusterRequest]:
        """Start a cluster for the time of a ``with`` block, of this size or as configured.

        Raises:
            InputError: If its library is missing.
        """
        return self.start(self._library(), size)

    def _library(self) -> ModuleType:
        hearing = signal.getsignal(signal.SIGINT)
        try:
            return import_module(self.module)
        except ModuleNotFoundError as error:
            missing = "" if error.name == self.module.split(".")[0] else f" whole ({error})"
            raise InputError(
                f'client="{self.name}" needs {self.package}, which is not here{missing}. Type: '
                f'pip install "terralatent[{self.name}]", or: conda install -c conda-forge '
                f"{self.package}."
            ) from error
        finally:
            # dask_jobqueue leaves a handler of its own, which ends the process without a word.
            if signal.getsignal(signal.SIGINT) is not hearing:
                signal.signal(signal.SIGINT, hearing)


@contextmanager
def _slurm(library: Any, size: Size) -> Iterator[ClusterRequest]:
    if shutil.which("sbatch") is None:
        raise InputError(
            'client="slurm" submits jobs with sbatch, which is not on PATH here. Run this where '
            "jobs are submitted, such as the login node."
        )
    configured = partial(dask.config.get, default=None)
    missing = [name for name in ("cores", "memory") if configured(f"jobqueue.slurm.{name}") is None]
    if missing:
        raise InputError(
            f"Dask's configuration does not say {' and '.join(missing)} of a SLURM job: write "
            "jobqueue.slurm.cores and .memory, and the queue if need be, into "
            "~/.config/dask/jobqueue.yaml."
        )
    with ExitStack() as stack:
        keys = stack.enter_context(shared_folder())
        # Jobs end when their time is over: Dask itself gives their tasks to others. A thread starts
        # sbatch and scancel, which Ctrl-C must not reach.
        with deaf_threads(), dask.config.set(pages_settings()):
            cluster = library.SLURMCluster(
                silence_logs=logging.CRITICAL,
                security=own_keys(),
                shared_temp_directory=str(keys),
                job_script_prologue=[
                    *job_prologue(),
                    *(configured("jobqueue.slurm.job-script-prologue") or ()),
                ],
                scheduler_options={
                    "dashboard_address": LOOPBACK,
                    **scheduler_options(),
                    **(configured("jobqueue.slurm.scheduler-options") or {}),
                },
                worker_extra_args=[
                    *worker_flags(),
                    *(configured("jobqueue.slurm.worker-extra-args") or ()),
                ],
            )
        stack.callback(_remove_key_files, cluster)
        stack.enter_context(cluster)
        if size.workers is None:
            cluster.scale(jobs=1)
        else:
            cluster.scale(size.workers)
        refused = [error for error in cluster.sync(_submitted, cluster) if error is not None]
        jobs = [str(job.job_id) for job in cluster.workers.values() if job.job_id]
        if not jobs:
            raise refused[0]
        if refused:
            log.warning("SLURM took %d jobs of %d: %s", len(jobs), len(jobs) + len(refused),
                        message_of(refused[0]))  # fmt: skip
        what = f"{len(jobs)} SLURM {'jobs' if len(jobs) > 1 else 'job'} ({', '.join(jobs)})"
        more = MORE_WORKERS if size.workers is None else ""
        try:
            yield ClusterRequest(cluster, what + more, partial(_all_ended, jobs))
        finally:
            for job in cluster.workers.values():
                job.status = Status.closing  # else the cluster does not close if one was refused


def _remove_key_files(cluster: Any) -> None:
    """Remove what dask-jobqueue wrote for jobs; it would at the end of this process, and complain
    that the folder is gone."""
    for key in ("ca_file", "cert", "key"):
        if file := getattr(cluster, f"_job_{key}", None):
            file.close()


async def _submitted(cluster: Any) -> list[BaseException | None]:
    """Wait until all jobs are submitted; gives the error of each that SLURM did not take."""
    with suppress(Exception):  # of one of them: their errors are collected below
        await cluster  # submits once more what was refused
    return [await _error_of(job) for job in list(cluster.workers.values())]


async def _error_of(job: Any) -> BaseException | None:
    if job.job_id:
        return None
    try:
        await job.start()  # once more
    except Exception as error:
        job.status = Status.failed  # else its cluster will not close
        return error
    return None


def _all_ended(jobs: list[str]) -> str | None:
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={','.join(jobs)}"]
    listed = subprocess.run(command, capture_output=True, check=False, text=True)
    if listed.returncode or listed.stdout.strip():
        return None
    return (
        f"SLURM jobs {', '.join(jobs)} ended before a worker came of them; what they wrote says "
        "why: slurm-ID.out in this folder, or in jobqueue.slurm.log-directory."
    )


@contextmanager
def _kubernetes(library: Any, size: Size) -> Iterator[ClusterRequest]:
    with library.KubeCluster(quiet=True) as cluster:
        named = dask.config.get("kubernetes.custom-cluster-spec", None) or cluster.n_workers
        if size.workers or not named:
            cluster.scale(size.workers or 1)
        what = (
            f"{size.workers or 1} workers" if size.workers or not named else "workers as configured"
        )
        more = "" if size.workers or named else MORE_WORKERS
        yield ClusterRequest(cluster, f"{what} of Kubernetes{more}")


@contextmanager
def _gateway(library: Any, size: Size) -> Iterator[ClusterRequest]:
    address = dask.config.get("gateway.address", None)
    if address is None:
        raise InputError(
            "Dask's configuration does not say where the gateway is: write gateway.address into "
            "~/.config/dask/gateway.yaml, or set DASK_GATEWAY__ADDRESS."
        )
    with library.GatewayCluster() as cluster:
        _ended.append(cluster)
        cluster.scale(size.workers or 1)
        more = MORE_WORKERS if size.workers is None else ""
        yield ClusterRequest(cluster, f"{size.workers or 1} workers of {address}{more}")


@contextmanager
def _cuda(library: Any, size: Size) -> Iterator[ClusterRequest]:
    limit = memory_limit(size.memory)
    resource_tracker.ensure_running()
    with process_settings(), deaf_threads():
        cluster = library.LocalCUDACluster(
            n_workers=size.workers,  # one for each GPU in CUDA_VISIBLE_DEVICES by default
            threads_per_worker=size.threads,
            memory_limit=limit,
            dashboard_address=LOOPBACK,
            scheduler_kwargs=scheduler_options(),
            protocol="tls://",
            security=own_keys(),
            silence_logs=logging.CRITICAL,
        )
    with cluster:
        try:
            yield ClusterRequest(cluster, f"{len(cluster.workers)} GPU workers")
        except BaseException:
            end_processes(cluster)
            raise


def message_of(error: BaseException) -> str:
    """One line of what a library says; of a command that failed, what that wrote."""
    text = " ".join(str(error).split())
    return text.rpartition("stderr: ")[2] or type(error).__name__


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "slurm", "dask_jobqueue", "dask-jobqueue", _slurm,
            "See what `sbatch` and ~/.config/dask/jobqueue.yaml say",
        ),
        Kind(
            "kubernetes", "dask_kubernetes.operator", "dask-kubernetes", _kubernetes,
            "Does `kubectl get daskclusters` answer? It needs a reachable cluster that runs the "
            "Dask operator; ~/.config/dask/kubernetes.yaml names image and namespace",
            slow=True,
        ),
        Kind(
            "gateway", "dask_gateway", "dask-gateway", _gateway,
            "Are gateway.address and .proxy-address in ~/.config/dask/gateway.yaml right, and may "
            "you start clusters",
            slow=True,
        ),
        Kind(
            "cuda", "dask_cuda", "dask-cuda", _cuda,
            "Does `nvidia-smi` list the GPUs? workers= may not request more than there are",
        ),
    )
}  # fmt: skip
"""By name."""
