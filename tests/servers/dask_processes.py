"""A Dask cluster as people start it: `dask scheduler` and `dask worker`, each a process."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

from tests.commands.processes import ROOT
from tests.waiting import WITHIN_S

LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")

REFUSED = "terralatent"
"""What an environment of others lacks."""


@contextmanager
def scheduler(
    folder: Path, *options: str, variables: Mapping[str, str] | None = None
) -> Iterator[Client]:
    """Start ``dask scheduler`` for the time of a ``with`` block; yields a client of it."""
    file = folder / "scheduler.json"
    command = [*options, "-m", "distributed.cli.dask_scheduler", *LOOPBACK, "--port", "0"]
    command += ["--idle-timeout", "10 minutes"]  # where the tests were killed before their end
    with (
        _process([*command, "--scheduler-file", str(file)], variables or {}, folder),
        Client(scheduler_file=str(file), timeout=WITHIN_S) as client,
    ):
        yield client


@contextmanager
def worker(
    client: Client, folder: Path, *options: str, variables: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Start ``dask worker`` in ``folder``, and wait until it has joined; yields its address."""
    before = set(client.nthreads())
    command = [*options, "-m", "distributed.cli.dask_worker", client.scheduler.address]
    command += [*LOOPBACK, "--nthreads", "1", "--death-timeout", str(WITHIN_S)]
    with _process(command, variables or {}, folder):
        client.wait_for_workers(len(before) + 1, timeout=WITHIN_S)
        (address,) = set(client.nthreads()) - before
        yield address


def foreign_environment(folder: Path, version: str | None = None) -> dict[str, str]:
    """Variables for a Python that has all libraries of this one, but another terralatent.

    Use them with ``-S``, so that it is not installed there either.

    Args:
        folder: For the environment.
        version: Of terralatent; None for none at all.
    """
    folder.mkdir()
    for home in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(home).iterdir():
            if REFUSED not in entry.name:
                (folder / entry.name).symlink_to(entry)
    if version is not None:
        (folder / "terralatent").mkdir()
        for package in ("catalogs", "models", "pipeline"):
            (folder / "terralatent" / package).symlink_to(ROOT / package)
        (folder / "tests").symlink_to(ROOT / "tests")
        about = folder / f"terralatent-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Name: terralatent\nVersion: {version}\n")
    return {"PYTHONPATH": str(folder)}


def _with_tests() -> dict[str, str]:
    """Scheduler and workers unpickle functions of tests."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


@contextmanager
def _process(command: list[str], variables: Mapping[str, str], folder: Path) -> Iterator[None]:
    variables = {**os.environ, **_with_tests(), **variables}
    with (
        (folder / f"{command[-1].replace('/', '-')[-40:]}.out").open("ab") as out,
        subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=variables,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        ) as process,
    ):  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
