"""Starts commands as a shell does, each a process group of its own, but without their imports.

``python -m tests.commands.launcher FD`` imports what the verbs import, once. For each request on
the socket FD it forks a process that runs the command line. Its workers are forks too: see
``tests.commands.forks``.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import socket
import sys
from typing import Any

from tests.commands import mishaps
from tests.commands.forks import fork_workers


def serve(channel: socket.socket) -> tuple[dict[str, Any], int] | None:
    """Answer requests; returns what to run, and where it writes, in a forked process alone.

    A request is JSON: ``arguments`` and ``environment``, together with a descriptor for the output,
    start a command and are answered by its ``pid``; ``pid`` is answered by its exit ``code``.
    """
    channel.send(b"{}")
    while True:
        message, files, _, _ = socket.recv_fds(channel, 1 << 20, 1)
        if not message:
            return None
        request = json.loads(message)
        if "pid" in request:
            _, status = os.waitpid(request["pid"], 0)
            reply = {"code": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if pid == 0:
                os.setsid()
                channel.close()
                return request, files[0]
            os.close(files[0])
            reply = {"pid": pid}
        channel.send(json.dumps(reply).encode())


def become(request: dict[str, Any], output: int) -> None:
    """Take the place of the command."""
    for standard in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(output, standard)
    os.close(output)
    os.environ.update(request["environment"])
    for name in [name for name, value in request["environment"].items() if not value]:
        del os.environ[name]
    sys.argv[:] = [request["program"], *request["arguments"]]


def make_small() -> None:
    """Let a tiny region take several tasks and commits, and a tiny training several validations."""
    from terralatent.pipeline import train
    from terralatent.pipeline.cluster import stream, tasks
    from terralatent.pipeline.ingest import windows
    from terralatent.pipeline.overviews import pyramid
    from tests.made.rough import make_rough

    os.sched_getaffinity = lambda _: {0}  # type: ignore[assignment]  # one worker process
    tasks.REFRESH_S = tasks.NO_WORKER_S = stream.POLL_S = 0.1
    windows.WIDEST = 16
    pyramid.TASK, pyramid.WINDOW, pyramid.LEAST, pyramid.SMALLEST = 64, 32, 64, 32
    make_rough()
    stream.Commits.__init__.__kwdefaults__["every"] = 2
    train.__kwdefaults__.update(batch=16, validate_every=2)


def main() -> None:
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "error"  # as the command line says before dask comes
    import cryptography.x509  # noqa: F401
    import lightning.fabric  # noqa: F401
    import typer
    from distributed.cli import dask_scheduler, dask_worker

    import terralatent.pipeline.ingest.build
    import terralatent.pipeline.landcover.classify
    import terralatent.pipeline.mapping.decode
    import terralatent.pipeline.mapping.embed
    import terralatent.pipeline.training.train  # noqa: F401
    from terralatent.pipeline.cli.app import app
    from terralatent.pipeline.cli.app import main as command_line

    programs = {
        "terralatent": command_line,
        "dask-scheduler": dask_scheduler.main,
        "dask-worker": dask_worker.main,
    }
    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(app)
    gc.freeze()  # else a collection copies what the forked processes share
    accepted = serve(socket.socket(fileno=int(sys.argv[1])))
    if accepted is not None:
        request, output = accepted
        become(request, output)
        mishaps.heed_permissions()
        if request["program"] == "terralatent":
            fork_workers()
        make_small()
        mishaps.arrange_command()
        try:
            programs[sys.argv[0]]()
        except SystemExit as ended:
            atexit._run_exitfuncs()
            os._exit(int(ended.code or 0))  # to take down all that was imported takes a second


if __name__ == "__main__":
    main()
