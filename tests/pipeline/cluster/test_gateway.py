"""Embedding by the clusters of a real Dask Gateway: ``make test-gateway``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.clusters import Command, are_held, held
from tests.commands.contents import contents, same
from tests.commands.plans import Plan
from tests.commands.processes import ROOT
from tests.servers.gateway import WORKER, clusters, gateway, missing
from tests.waiting import until

pytestmark = pytest.mark.gateway


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    lacking = missing()
    if lacking is not None:
        pytest.fail(f"no Dask Gateway to test with: {lacking}", pytrace=False)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with gateway(tmp_path) as address:
        yield address


def embedding(plan: Plan, folder: Path) -> tuple[str, ...]:
    out = str(folder / "out")
    return (*plan.command, out, "--client", "gateway", "--workers", "2", "--device", "cpu")


def at(address: str) -> dict[str, str]:
    return {"DASK_GATEWAY__ADDRESS": address}


def test_two_workers_give_what_local_processes_give_and_the_cluster_is_gone_afterwards(
    address: str, embed_plan: Plan, tmp_path: Path
) -> None:
    ended = Command(tmp_path, at(address), *embedding(embed_plan, tmp_path)).end()

    assert ended.code == 0, ended.output
    assert f"requested 2 workers of {address}" in ended.output
    assert "9 of 9 blocks" in ended.output
    assert "Traceback" not in ended.output
    same(contents(tmp_path / "out"), embed_plan.whole)
    until(lambda: not clusters(address), "the end of the cluster")


def test_an_interrupt_ends_the_cluster(embed_plan: Plan, tmp_path: Path) -> None:
    variables = {**held(tmp_path), "PYTHONPATH": str(ROOT)}
    preloaded = [
        *WORKER,
        "--preload",
        "tests.commands.mishaps",
    ]  # what a gateway adds outdoes variables
    with gateway(tmp_path, variables, worker_cmd=preloaded) as address:
        command = Command(tmp_path, at(address), *embedding(embed_plan, tmp_path))
        until(lambda: are_held(tmp_path, 2), "a task on each worker")

        command.interrupt()
        ended = command.end()

        assert ended.code == 130, ended.output
        assert ended.output.splitlines()[-1].startswith("interrupted: what is done is kept; go on")
        assert "Traceback" not in ended.output
        until(lambda: not clusters(address), "the end of the cluster")


@pytest.mark.parametrize("slow", ["scheduler_cmd", "worker_cmd"])
def test_an_interrupt_ends_the_wait_for_a_cluster_or_its_workers_and_the_cluster(
    embed_plan: Plan, tmp_path: Path, slow: str
) -> None:
    with gateway(tmp_path, **{slow: ["sh", "-c", "sleep 600"]}) as address:
        command = Command(tmp_path, at(address), *embedding(embed_plan, tmp_path))
        until(lambda: bool(clusters(address)), "a cluster that is requested")
        if slow == "worker_cmd":
            until(lambda: command.has_written("waiting for the first worker"), "the wait")

        command.interrupt()
        ended = command.end()

        assert ended.code == 130, ended.output
        assert "Traceback" not in ended.output
        assert not (tmp_path / "out").exists()
        until(lambda: not clusters(address), "the end of the cluster")


def test_a_gateway_that_cannot_be_reached_or_starts_nothing_is_reported_in_one_line(
    embed_plan: Plan, tmp_path: Path
) -> None:
    with gateway(tmp_path, scheduler_cmd=["false"]) as address:
        for where, words in (
            (address, "failed to start"),
            ("http://127.0.0.1:1", "Cannot connect"),
        ):
            ended = Command(tmp_path, at(where), *embedding(embed_plan, tmp_path)).end()

            assert ended.code == 2, ended.output
            last = ended.output.splitlines()[-1]
            assert words in last, ended.output
            assert "gateway.yaml" in last
            assert "Traceback" not in ended.output
        assert clusters(address) == []
