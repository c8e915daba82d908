"""Without the extra, the command names it."""

from __future__ import annotations

import sys

import pytest

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.explorer.view import view_in_browser


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [own for own in sys.modules if own.partition(".")[0] == "bokeh"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(InputError, match=r'pip install "terralatent\[view\]"'):
        view_in_browser("latents", say=lambda _: None)
