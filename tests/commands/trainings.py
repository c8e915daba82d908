"""The training of a tiny model by the command line, and what its folder holds in the end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from terralatent.models.checkpoint import load_model
from terralatent.pipeline.training.state import TrainingFolder
from tests.commands.mishaps import Mishap
from tests.commands.processes import Command, Ended, Launcher

STEPS = 6
"""Steps of the training; it validates at every second, see ``tests.commands.launcher``."""


@dataclass
class Training:
    """A model that a command trains, run after run."""

    cube: Path
    launcher: Launcher
    folder: Path
    """Where the model goes, and what the runs count."""

    runs: int = 0

    @property
    def out(self) -> Path:
        """The model's folder."""
        return self.folder / "model"

    def start(self, mishap: Mishap | None = None) -> Command:
        """Start the command once more, with what is to befall it."""
        self.runs += 1
        sizes = ("--latents", "3", "--steps", str(STEPS))
        return self.launcher.start(
            "train", self.cube, *sizes, "--out", self.out,
            mishaps=(mishap,) if mishap else (), folder=self.folder / str(self.runs),
        )  # fmt: skip

    def run(self, mishap: Mishap | None = None) -> Ended:
        """Run the command once more, to its end."""
        return self.start(mishap).end()

    def step(self) -> int | None:
        """How many steps the state has, None where there is no state; checks that it is whole."""
        state = TrainingFolder(self.out).load()
        return None if state is None else state.step

    def contents(self) -> dict[str, object]:
        """Everything the folder holds, in bytes, but for the times of its making."""
        load_model(self.out)
        held: dict[str, object] = {
            file.relative_to(self.out).as_posix(): file.read_bytes()
            for file in self.out.rglob("*")
            if file.is_file()
        }
        manifest = json.loads((self.out / "model.json").read_text())
        lines = (self.out / "training" / "log.jsonl").read_text().splitlines()
        held["model.json"] = {key: value for key, value in manifest.items() if key != "created"}
        held["training/log.jsonl"] = [
            {key: value for key, value in json.loads(line).items() if key != "seconds"}
            for line in lines
        ]
        return held
