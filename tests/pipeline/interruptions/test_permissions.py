"""A store that cannot be written any more: one line, nothing lost, and the same command goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.mishaps import Mishap
from tests.commands.plans import FilledStore, Plan


def writable(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)


@pytest.mark.parametrize("plan", ["radar_plan", pytest.param("embed_plan", marks=pytest.mark.soak)])
def test_permissions_lost_in_the_middle_cost_nothing_that_is_stored(
    plan: str, filling: Callable[[Plan], FilledStore], request: pytest.FixtureRequest
) -> None:
    store = filling(request.getfixturevalue(plan))
    lost = store.run(mishap=Mishap("before commit", "read only", nth=3))
    assert lost.code == 2, lost.output
    (line,) = (line for line in lost.output.splitlines() if line.startswith("error: "))
    assert f"{store.path} cannot be" in line
    assert "Traceback" not in lost.output

    writable(store.path)
    done = store.done()
    assert done > 0
    ended = store.run()
    assert ended.code == 0, ended.output
    assert store.is_whole()
