"""Who gives no progress gets a bar in a notebook and none elsewhere; a notebook's is one output."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from terralatent.pipeline.bars import Bar, CellBar
from terralatent.pipeline.progress import Progress, Silent, choose_progress


class ZMQInteractiveShell:
    """Called as the shell of a kernel is."""


class TerminalInteractiveShell:
    """Called as that of a terminal is."""


class Output:
    """An output of a cell: what was drawn in it, as text."""

    def __init__(self, shown: Any) -> None:
        self.drawn: list[str] = []
        self.update(shown)

    def update(self, shown: Any) -> None:
        self.drawn.append(shown._repr_mimebundle_((), ())["text/plain"])


@pytest.fixture
def outputs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Output]:
    """Those of a cell, in a process where an IPython is that knows no more than this."""
    outputs: list[Output] = []

    def display(shown: Any, *, display_id: bool) -> Output:
        assert display_id
        outputs.append(Output(shown))
        return outputs[-1]

    for name, offered in (
        ("IPython", {"get_ipython": request.param}),
        ("IPython.display", {"display": display}),
    ):
        module = ModuleType(name)
        vars(module).update(offered)
        monkeypatch.setitem(sys.modules, name, module)
    return outputs


@pytest.mark.parametrize("outputs", [ZMQInteractiveShell], indirect=True)
def test_a_notebook_shows_a_bar_by_default_in_one_output(outputs: list[Output]) -> None:
    progress = choose_progress(None)
    assert isinstance(progress, CellBar)
    assert isinstance(choose_progress(True), CellBar)
    assert isinstance(choose_progress(False), Silent)
    for title in ("embed", "overviews"):
        progress.start(40, title)
        for done in range(40):
            progress.advance(loss=float(done))
        progress.close()
        progress.close()
    (output,) = outputs
    embed, overviews = output.drawn[-1].splitlines()
    assert "embed" in embed
    assert "40/40" in embed
    assert "loss 39" in embed
    assert "overviews" in overviews
    assert "40/40" in overviews
    assert len(output.drawn) < 20, "each is a message to a browser"


@pytest.mark.parametrize("outputs", [TerminalInteractiveShell, lambda: None], indirect=True)
@pytest.mark.usefixtures("outputs")
def test_elsewhere_there_is_none_by_default() -> None:
    assert isinstance(choose_progress(None), Silent)
    assert isinstance(choose_progress(True), Bar)


def test_without_ipython_none_is_imported() -> None:
    assert isinstance(choose_progress(None), Silent)
    assert "IPython" not in sys.modules


@pytest.mark.parametrize("given", [Silent(), CellBar()])
def test_one_that_is_given_is_taken(given: Progress) -> None:
    assert choose_progress(given) is given
