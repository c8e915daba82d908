"""A map that is killed: what is stored is true, and the next run ends the same."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from distributed import Client

from terralatent.pipeline import classify
from tests.commands.contents import contents
from tests.commands.mishaps import Mishap
from tests.commands.plans import FilledStore, Plan, computed
from tests.made.latents import made_up_fields


@pytest.fixture(scope="module")
def plan(workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The map of fields in 16 blocks."""
    folder = tmp_path_factory.mktemp("classify")
    fields = made_up_fields(folder / "latents", block=8)
    fields.frame.to_file(folder / "fields.gpkg")
    classify(fields.latents, folder / "fields.gpkg", "crop", folder / "whole", client=workers)
    labels = ("--labels", str(folder / "fields.gpkg"), "--column", "crop")
    command = ("classify", str(fields.latents), *labels, "--out")
    return Plan(command, contents(folder / "whole"), 16)


@pytest.mark.soak
def test_a_killed_map_goes_on_and_ends_with_the_same_bytes(
    plan: Plan, filling: Callable[[Plan], FilledStore], tmp_path: Path
) -> None:
    store = filling(plan)
    # The first commit lays the store out, the second keeps the probe, others have two blocks each.
    killed = store.run(mishap=Mishap("before commit", "kill", nth=4))
    assert killed.code == -signal.SIGKILL, killed.output
    assert store.done() == 2

    ended = store.run()

    assert (ended.code, computed(ended)) == (0, 14), ended.output
    assert store.is_whole()
    assert store.path.with_name("store.report.json").is_file()
