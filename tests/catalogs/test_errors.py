"""A mistake of the user is one line in a notebook, and the lines of the user's that led to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import CheckpointError

CELL = """
from terralatent.pipeline.region import grid

def mine(resolution):
    return grid(None, resolution)

mine(-1)
"""


def shown(cell: str, name: str) -> list[str]:
    """What a notebook shows of a cell that fails, run as IPython runs it."""
    shell: dict[str, Any] = {"__name__": "IPython.core.interactiveshell"}
    exec("def run_code(code, space):\n    exec(code, space)", shell)
    with pytest.raises((InputError, CheckpointError)) as raised:
        shell["run_code"](compile(cell, name, "exec"), {"__name__": "__main__"})
    error = raised.value
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next  # that of this function
    return "\n".join(error._render_traceback_()).splitlines()


def test_a_notebook_shows_the_message_and_the_users_own_lines(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(CELL)
    message, *frames = shown(CELL, str(file))
    assert message == "InputError: Resolution -1 is no pixel size; give metres above zero."
    assert frames == [
        f'  File "{file}", line 7, in <module>',
        "    mine(-1)",
        f'  File "{file}", line 5, in mine',
        "    return grid(None, resolution)",
    ]


def test_a_cell_is_called_so() -> None:
    _, frame, *_ = shown(CELL, "/tmp/ipykernel_123/456.py")
    assert frame == "  Cell, line 7, in <module>"


def test_a_checkpoint_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    cell = f"from terralatent.models.checkpoint import read_manifest as r\nr({str(tmp_path)!r})"
    (message,) = shown(cell, "script.py")
    assert message.startswith(f"CheckpointError: {tmp_path}/model.json: no such file")
