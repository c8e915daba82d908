"""What may befall a command, and where: the side of it that lives in the command's processes.

Nothing in the programs knows of this. A process that is to suffer patches the functions it passes
through, from outside, and what is planned for a place happens there. Processes of one command count
together, by files, so that a worker that was started anew goes on counting.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.waiting import until

FOLDER, PLAN = "MISHAPS_FOLDER", "MISHAPS_PLAN"
"""Variables through which a command's processes learn where they count, and what is planned."""


PRELOAD = {"distributed.worker.preload": [__name__]}
"""Dask's setting that lets workers suffer too."""


@dataclass(frozen=True)
class Mishap:
    """What happens at a place, once."""

    place: str
    """``started``: a worker process begins; ``written``: it has written a task's shards, and not
    handed its fork back; ``merged``: forks are merged; ``before commit``, ``after commit``, that of
    the layout counted; ``before shown``, ``after shown``: of what a cube grew to. Of a training:
    ``linear start``; ``step``: one is done; ``state half written``, ``state written``: before it
    replaces the one before; ``weights replaced``: and the manifest not yet. Of an export: ``before
    cog``: the plain file is written; ``cog made``, ``cog in place``: before and after it has its
    name; ``shard exported``: into a netCDF file; ``zarr filled``: but for what gathers it."""

    what: str
    """``kill``: the whole group; ``die``: this process alone; ``interrupt``: Ctrl-C for the group,
    ``interrupt twice``; ``terminate``: SIGTERM for the group; ``second``: the same command runs
    beside this one, to its end; ``full disk``: no file can be written from now on; ``read only``:
    none below ``--out`` can; ``stop``: the group is stopped until SIGCONT; ``wait``:
    nothing, but that it waits for what it comes after."""

    nth: int = 1
    """At which passing of the place; 0: at each."""

    victim: str | None = None
    """A file with the number of another process that is killed at a ``kill``, and no group."""

    task: str | None = None
    """Count only the passings with this task: a block's index, a read task's name."""

    after: tuple[str, int] | None = None
    """Wait there until another place was passed so often."""


def environment(folder: Path, mishaps: tuple[Mishap, ...]) -> dict[str, str]:
    """Variables for a command that is to suffer ``mishaps`` and counts in ``folder``, empty."""
    plan = json.dumps([asdict(mishap) for mishap in mishaps])
    return {FOLDER: str(folder), PLAN: plan}


def second(folder: Path) -> tuple[int, str]:
    """Exit code and words of the command that ran at a ``second``."""
    code, output = json.loads((folder / "second").read_text())
    return code, output


def arrange_command() -> None:
    """Patch the process that reads the command line."""
    import dask
    import icechunk

    from terralatent.models import checkpoint
    from terralatent.models.start import linear as start
    from terralatent.pipeline.training import loop as fitting
    from terralatent.pipeline.training import state as training_state

    dask.config.set(PRELOAD)
    _then(icechunk.Session, "merge", "merged")
    _first(icechunk.Session, "commit", "before commit")
    _then(icechunk.Session, "commit", "after commit")
    _first(icechunk.Repository, "reset_branch", "before shown")
    _then(icechunk.Repository, "reset_branch", "after shown")
    _first(start, "linear_start", "linear start")
    _then(fitting, "_step", "step")
    _then(checkpoint, "_replace", "weights replaced")
    _first(training_state, "_settle", "state written", lambda aside, file: "state" in file.name)

    if "export" in sys.argv:
        from terralatent.pipeline.export import geotiff, netcdf, zarr

        _first(geotiff, "_copied", "before cog")
        _first(geotiff, "_put_in_place", "cog made")
        _then(geotiff, "_put_in_place", "cog in place")
        _then(netcdf, "_write_piece", "shard exported")
        _first(zarr, "consolidate", "zarr filled")

    save = training_state.save_file

    def save_half(tensors: Any, file: Path, **options: Any) -> None:
        save(tensors, file, **options)
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        _pass("state half written")
        file.write_bytes(whole)

    training_state.save_file = save_half


def dask_setup(worker: Any) -> None:
    """Patch a worker process; Dask calls this when the worker has started."""
    from terralatent.pipeline.cluster import tasks

    _then(tasks, "run_task", "written", lambda run, fork, task: _name(task))


def worker_started() -> None:
    """Called by a worker process as soon as it runs any code of ours."""
    _pass("started")


def _name(task: Any) -> str:
    return str(getattr(task, "index", None) or task.name)


def _first(owner: Any, name: str, place: str, describe: Callable[..., Any] | None = None) -> None:
    """Let ``place`` be passed right before ``owner.name`` is called."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def passing(*arguments: Any, **options: Any) -> Any:
        task = describe(*arguments, **options) if describe else None
        if task is not False:
            _pass(place, task)
        return original(*arguments, **options)

    setattr(owner, name, passing)


def _then(owner: Any, name: str, place: str, describe: Callable[..., Any] | None = None) -> None:
    """Let ``place`` be passed right after ``owner.name`` ended well."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def passed(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        _pass(place, describe(*arguments, **options) if describe else None)
        return result

    setattr(owner, name, passed)


def _pass(place: str, task: Any = None) -> None:
    """Count the passing of a place, and do what is planned for it."""
    if PLAN not in os.environ:
        return
    count = _count(place)
    by_task = _count(f"{place} {task}".replace("/", "-")) if isinstance(task, str) else 0
    for fields in json.loads(os.environ[PLAN]):
        mishap = Mishap(**fields)
        passed = count if mishap.task is None else by_task
        named = mishap.task is None or mishap.task == task
        if mishap.place == place and named and mishap.nth in (0, passed):
            if mishap.after is not None:
                _await(*mishap.after)
            if mishap.victim is not None:
                os.kill(int(Path(mishap.victim).read_text()), signal.SIGKILL)
            else:
                _do(mishap.what)


def heed_permissions() -> None:
    """Let permissions of files hold for this process and those it starts, though it may be root.

    Where they are to matter: it gives up the capabilities to override them, before there is another
    thread.
    """
    if all(fields["what"] != "read only" for fields in json.loads(os.environ.get(PLAN, "[]"))):
        return
    libc, names = ctypes.CDLL(None), (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, of 32 each; then of others
    libc.capget(header, sets)
    for name in names:
        libc.prctl(24, name, 0, 0, 0)  # PR_CAPBSET_DROP: not regained by what is started
        for kind in range(3):
            sets[kind] &= ~(1 << name)
    libc.capset(header, sets)


def _count(place: str) -> int:
    """Count one passing of a place in whatever process of the command; gives the sum."""
    folder, count = Path(os.environ[FOLDER]), 1
    while True:
        try:
            (folder / f"{place}.{count}").touch(exist_ok=False)
        except FileExistsError:
            count += 1
        else:
            return count


def _await(place: str, count: int) -> None:
    passed = Path(os.environ[FOLDER]) / f"{place}.{count}"
    until(passed.exists, f"{place} to be passed {count} times")


def _do(what: str) -> None:
    if what == "second":
        again = "from terralatent.pipeline.cli.app import main; main()"
        quiet = {name: value for name, value in os.environ.items() if name != PLAN}
        ended = subprocess.run(
            [sys.executable, "-c", again, *sys.argv[1:]],
            check=False, capture_output=True, text=True, env=quiet,
        )  # fmt: skip
        output = [ended.returncode, ended.stdout + ended.stderr]
        (Path(os.environ[FOLDER]) / "second").write_text(json.dumps(output))
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "kill":
        os.killpg(0, signal.SIGKILL)
    elif what == "full disk":
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    elif what == "read only":
        out = Path(sys.argv[sys.argv.index("--out") + 1])
        for path in (*out.rglob("*"), out):
            path.chmod(path.stat().st_mode & ~0o222)
    elif what == "stop":
        os.killpg(0, signal.SIGSTOP)
    elif what == "terminate":
        os.killpg(0, signal.SIGTERM)
    elif what in ("interrupt", "interrupt twice"):
        os.killpg(0, signal.SIGINT)
        if what == "interrupt twice":
            os.killpg(0, signal.SIGINT)
    elif what != "wait":
        raise ValueError(what)
