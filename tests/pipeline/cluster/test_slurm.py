"""Embedding by SLURM jobs, on a real SLURM of one node: ``make test-slurm``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.clusters import Command, are_held, go_on, held
from tests.commands.contents import contents, same
from tests.commands.plans import Plan
from tests.servers.slurm import cancel, jobs, missing, occupy, one_node
from tests.waiting import until

pytestmark = pytest.mark.slurm

JOBQUEUE = """\
jobqueue:
  slurm:
    cores: 1
    memory: 1GB
    processes: 1
    queue: main
    walltime: "00:10:00"
    log-directory: {logs}
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables for a command that submits jobs, configured as the README says."""
    lacking = missing()
    if lacking is not None:
        pytest.fail(f"no SLURM to test with: {lacking}", pytrace=False)
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "dask").mkdir()
    (folder / "dask" / "jobqueue.yaml").write_text(JOBQUEUE.format(logs=folder / "logs"))
    with one_node(folder) as variables:
        yield {**variables, "DASK_CONFIG": str(folder / "dask")}


def embedding(plan: Plan, out: Path, *options: str) -> tuple[str, ...]:
    return (*plan.command, str(out), "--client", "slurm", "--device", "cpu", *options)


def test_two_jobs_give_what_local_processes_give_and_are_gone_afterwards(
    slurm: dict[str, str], embed_plan: Plan, tmp_path: Path
) -> None:
    command = embedding(embed_plan, tmp_path / "out", "--workers", "2")

    ended = Command(tmp_path, slurm, *command).end()

    assert ended.code == 0, ended.output
    assert "requested 2 SLURM jobs" in ended.output
    assert "9 of 9 blocks" in ended.output
    same(contents(tmp_path / "out"), embed_plan.whole)
    until(lambda: not jobs(slurm), "the end of the jobs")


def test_blocks_of_a_cancelled_job_are_done_by_another(
    slurm: dict[str, str], embed_plan: Plan, tmp_path: Path
) -> None:
    variables = {**slurm, **held(tmp_path)}
    arguments = embedding(embed_plan, tmp_path / "out", "--workers", "2")
    command = Command(tmp_path, variables, *arguments)
    until(lambda: are_held(tmp_path, 2), "a task on each worker")
    first, second = sorted(jobs(slurm), key=int)

    cancel(slurm, first)
    until(lambda: jobs(slurm) == [second], "the end of a job")
    go_on(tmp_path)
    ended = command.end()

    assert ended.code == 0, ended.output
    assert "lost" not in ended.output
    same(contents(tmp_path / "out"), embed_plan.whole)
    until(lambda: not jobs(slurm), "the end of the jobs")


def test_an_interrupt_ends_the_jobs_that_run(
    slurm: dict[str, str], embed_plan: Plan, tmp_path: Path
) -> None:
    variables = {**slurm, **held(tmp_path)}
    arguments = embedding(embed_plan, tmp_path / "out", "--workers", "2")
    command = Command(tmp_path, variables, *arguments)
    until(lambda: are_held(tmp_path, 2), "a task on each worker")

    command.interrupt()
    ended = command.end()

    assert ended.code == 130, ended.output
    assert ended.output.splitlines()[-1].startswith(
        "interrupted: what is done is kept; go on with:"
    )
    until(lambda: not jobs(slurm), "the end of the jobs")


def test_an_interrupt_ends_the_wait_for_a_job_that_queues_and_the_job(
    slurm: dict[str, str], embed_plan: Plan, tmp_path: Path
) -> None:
    other = occupy(slurm)
    command = Command(tmp_path, slurm, *embedding(embed_plan, tmp_path / "out"))
    until(lambda: command.has_written("waiting for the first worker"), "the wait")
    assert command.has_written("--workers requests more")
    assert len(jobs(slurm)) == 2

    command.interrupt()
    ended = command.end()

    assert ended.code == 130, ended.output
    assert jobs(slurm) == [other]
    assert not (tmp_path / "out").exists(), "a store is laid out only once there is who fills it"
    cancel(slurm, other)
    until(lambda: not jobs(slurm), "a free node")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("QUEUE", "nowhere", "invalid partition specified: nowhere"),
        ("CORES", "null", "does not say cores of a SLURM job"),
        ("PYTHON", shutil.which("false") or "false", "ended before a worker came of them"),
    ],
)
def test_jobs_that_cannot_work_are_reported_in_one_line(
    slurm: dict[str, str], embed_plan: Plan, tmp_path: Path, name: str, value: str, words: str
) -> None:
    variables = {**slurm, f"DASK_JOBQUEUE__SLURM__{name}": value}

    ended = Command(tmp_path, variables, *embedding(embed_plan, tmp_path / "out")).end()

    assert ended.code == 2, ended.output
    assert words in ended.output.splitlines()[-1], ended.output
    assert "Traceback" not in ended.output
    until(lambda: not jobs(slurm), "the end of the jobs")
