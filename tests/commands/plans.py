"""Commands that fill a tiny store in several tasks and commits, and what it holds in the end."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.store.lock.writer import read_run
from terralatent.pipeline.store.repository import Store
from tests.commands.contents import contents, same, units_done
from tests.commands.mishaps import Mishap
from tests.commands.processes import Command, Ended, Launcher
from tests.made.catalogue import SIDE, region
from tests.made.models import made_up_model

DATES = "2018-05-04,2018-05-20"
WHERE = ("--region", ",".join(str(edge) for edge in region().bounds))


@dataclass(frozen=True)
class Plan:
    """A command that fills a store: by ``tests.commands.launcher`` two tasks a commit, one
    after the other."""

    command: tuple[str, ...]
    """All of it but where the store goes."""

    whole: dict[str, bytes]
    """Contents of the store in the end, where the library filled it and nothing happened."""

    units: int
    """Read tasks or blocks."""


class FilledStore:
    """A store that a command fills, run after run.

    Args:
        plan: The command.
        launcher: Starts it.
        folder: Where the store goes, and what the runs count.
    """

    def __init__(self, plan: Plan, launcher: Launcher, folder: Path) -> None:
        self.path = folder / "store"
        self._plan, self._launcher, self._folder = plan, launcher, folder
        self._runs = 0

    def start(
        self,
        *options: str,
        mishap: Mishap | None = None,
        mishaps: tuple[Mishap, ...] = (),
        folder: Path | None = None,
    ) -> Command:
        """Start the command once more, with what is to befall it; it counts in ``folder``."""
        self._runs += 1
        self.last = folder or self._folder / str(self._runs)
        """Where the latest run counts."""
        return self._launcher.start(
            *self._plan.command, self.path, *options,
            mishaps=(mishap,) if mishap else mishaps, folder=self.last,
        )  # fmt: skip

    def run(self, *options: str, mishap: Mishap | None = None) -> Ended:
        """Run the command once more, to its end."""
        return self.start(*options, mishap=mishap).end()

    def done(self) -> int:
        """How many units are done by what the store says; checks that it is true."""
        store = Store.of(self.path)
        if not store.exists() or store.is_empty():
            return 0
        done, every = units_done(self.path, self._plan.whole)
        assert every == self._plan.units
        return done

    def is_whole(self) -> bool:
        """Whether nothing is missing, in whatever order it came; checks that nobody is at it."""
        same(contents(self.path), self._plan.whole)
        assert read_run(self.path) is None
        return self.done() == self._plan.units


def plan_build(scenes: Scenes, client: Client, folder: Path, *, block: int) -> Plan:
    """A read task for each block and sensor of ``scenes``; the library reads a sensor in one."""
    scenes.to_parquet(folder / "scenes.parquet")
    build_cube(scenes, region(), folder / "whole", block=block, client=client)
    command = ("build", "--scenes", str(folder / "scenes.parquet"), *WHERE, "--block", str(block))
    units = len(scenes.sensors) * math.ceil(SIDE / block) ** 2
    return Plan((*command, "--out"), contents(folder / "whole"), units)


def plan_embed(cube: Path, client: Client, folder: Path) -> Plan:
    """The nine blocks of the cube of ``tests.conftest``."""
    model = made_up_model(cube, folder / "model")
    embed(cube, model, folder / "whole", dates=DATES, client=client)
    command = ("embed", str(cube), str(model), "--dates", DATES, "--out")
    return Plan(command, contents(folder / "whole"), 9)


def computed(ended: Ended) -> int:
    """How many units a command says that it did itself."""
    counts = re.search(r"(\d+) read tasks|(\d+) of \d+ blocks", ended.output)
    if counts is None:
        assert "nothing left to read" in ended.output, ended.output
        return 0
    return int(counts[1] or counts[2])


def some_and_all(points: tuple[Any, ...], some: slice) -> pytest.MarkDecorator:
    """Try a law at some points where a command may be struck, and in soak at all of them."""
    every = pytest.param(points, id="all points", marks=pytest.mark.soak)
    few = pytest.param(points[some], id="some points")
    return pytest.mark.parametrize("points", [few, every])
