"""Verbs that fill a result end with its overviews, which know what its model says of errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from terralatent.models.checkpoint import keep_overview_correlation
from terralatent.pipeline import embed, make_overviews, open_latents
from terralatent.pipeline.overviews import pyramid
from terralatent.pipeline.overviews.opened import level_shapes
from terralatent.pipeline.store.repository import Store
from tests.commands.contents import contents, same
from tests.made.models import made_up_model

DATES = "2018-05-04,2018-05-20"


def test_embed_ends_with_overviews_where_they_are_not_declined(
    cube: Path, workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LEAST", "SMALLEST"):
        monkeypatch.setattr(pyramid, name, 16)
    model = made_up_model(cube, tmp_path / "model")
    keep_overview_correlation(model, {"sides": [2], "rho": [[0.5, 0.25, 0.75, 1.0]]})
    given: dict[str, Any] = {"dates": DATES, "client": workers}

    embed(cube, model, tmp_path / "with", **given)
    embed(cube, model, tmp_path / "later", overviews=False, **given)

    root: Any = Store.of(tmp_path / "with").group()
    assert level_shapes(root) == {0: (40, 40), 1: (20, 20), 2: (10, 10)}
    for level in (1, 2):
        assert root[f"overviews/{level}/std"].attrs["rho"] == [0.5, 0.25, 0.75, 1.0]
    assert level_shapes(Store.of(tmp_path / "later").group()) == {0: (40, 40)}
    make_overviews(tmp_path / "later", client=workers)
    same(contents(tmp_path / "later"), contents(tmp_path / "with"))
    before = contents(tmp_path / "with")
    assert embed(cube, model, tmp_path / "with", **given).computed == 0
    same(contents(tmp_path / "with"), before)
    assert open_latents(tmp_path / "with", level=2)["mean"].shape == (2, 4, 10, 10)
