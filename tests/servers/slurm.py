"""A SLURM of one node on loopback, from Debian's packages: its daemons as processes of a test.

Nothing of the machine's own SLURM is touched: keys, ports, states and logs lie in a folder.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.waiting import until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
PACKAGES = "apt-get install --no-install-recommends slurmctld slurmd slurm-client munge"

NODE = "node"
CORES = 2


def missing() -> str | None:
    """What a test lacks to start it, and what to type; None if it is all there."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"there is no {', '.join(absent)}; as root: {PACKAGES}"
    return None if os.geteuid() == 0 else "slurmd starts jobs as root only: run this as root"


@contextmanager
def one_node(folder: Path) -> Iterator[dict[str, str]]:
    """Run the daemons for the time of a ``with`` block; yields the variables its commands need."""
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir()
    key, socket_path = folder / "munge" / "key", folder / "munge" / "socket"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    # By force: else it wants a socket that every user can reach.
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket_path}"]
    munged += [f"--{name}-file={folder / 'munge' / name}" for name in ("pid", "log", "seed")]
    conf = folder / "slurm.conf"
    conf.write_text(_configuration(folder, socket_path))
    variables = {"SLURM_CONF": str(conf), "PATH": _path()}
    with ExitStack() as stack:
        stack.enter_context(_daemon(munged, variables, folder))
        until(socket_path.exists, "munged")
        for name, *own in (("slurmctld", "-i"), ("slurmd", "-N", NODE)):
            command = [name, "-D", "-f", str(conf), *own]
            stack.enter_context(_daemon(command, variables, folder))
        until(lambda: "idle" in _said(variables, "sinfo", "--noheader", "--format=%T"), "the node")
        yield variables


def jobs(variables: Mapping[str, str]) -> list[str]:
    """The ids of all jobs that wait or run."""
    return _said(variables, "squeue", "--noheader", "--format=%i").split()


def cancel(variables: Mapping[str, str], job: str) -> None:
    """End a job, as its owner or an administrator may."""
    _said(variables, "scancel", job)


def occupy(variables: Mapping[str, str]) -> str:
    """Submit a job that takes the whole node; gives its id."""
    wrapped = ("--wrap=exec sleep 600", "--output=/dev/null")
    return _said(variables, "sbatch", "--parsable", f"--cpus-per-task={CORES}", *wrapped).strip()


def _configuration(folder: Path, munge: Path) -> str:
    own = pwd.getpwuid(os.geteuid()).pw_name
    lines = {
        "ClusterName": "test",
        "SlurmctldHost": f"{socket.gethostname().split('.')[0]}(127.0.0.1)",
        "SlurmctldPort": _free_port(),
        "SlurmUser": own,
        "SlurmdUser": own,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={munge}",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        # No control groups, which containers do not let one make.
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/none",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU",
        # The node has as many cores as the jobs of a test want, whatever the machine has.
        "SlurmdParameters": "config_overrides",
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=1",
        "KillWait": 1,
        "ReturnToService": 2,
    }
    node = f"NodeName={NODE} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1"
    return "\n".join(
        [
            *(f"{name}={value}" for name, value in lines.items()),
            f"{node} Port={_free_port()} CPUs={CORES} RealMemory=4000 State=UNKNOWN",
            f"PartitionName=main Nodes={NODE} Default=YES MaxTime=INFINITE State=UP",
            "",
        ]
    )


@contextmanager
def _daemon(command: list[str], variables: Mapping[str, str], folder: Path) -> Iterator[None]:
    with (
        (folder / f"{command[0]}.out").open("wb") as out,
        subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            env={**os.environ, **variables},
        ) as process,
    ):  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _said(variables: Mapping[str, str], *command: str) -> str:
    return subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, check=False, text=True
    ).stdout


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
