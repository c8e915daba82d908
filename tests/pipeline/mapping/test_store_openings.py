"""From a path or a URL to the result, each store is entered once."""

from __future__ import annotations

from pathlib import Path

import icechunk
import pytest
from distributed import Client

from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.store.history import history
from terralatent.pipeline.store.repository import Store
from tests.made.models import made_up_model


def test_an_embedding_opens_the_repositories_of_cube_and_result_once(
    cube: Path, workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit opens its own, because a repository that stays open remembers all chunks."""
    model = made_up_model(cube, tmp_path / "model")
    opened: list[str] = []
    open_repository = icechunk.Repository.open

    def counted(storage: icechunk.Storage, *rest: object) -> icechunk.Repository:
        opened.append(str(storage))
        return open_repository(storage, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(icechunk.Repository, "open", counted)
        report = embed(cube, model, tmp_path / "latents", dates="2018-05-20", client=workers)

    assert report.computed == report.blocks
    commits = len(history(tmp_path / "latents")) - 1  # a layout is made aside
    assert sum(str(cube) in storage for storage in opened) == 1
    assert sum(str(tmp_path / "latents") in storage for storage in opened) == 1 + commits
    assert len(opened) == 2 + commits


def test_the_same_again_opens_each_of_them_once(
    cube: Path, workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made_up_model(cube, tmp_path / "model")
    embed(cube, model, tmp_path / "latents", dates="2018-05-20", client=workers)
    opened: list[Store] = []
    open_store = Store._open
    monkeypatch.setattr(Store, "_open", lambda store: opened.append(store) or open_store(store))

    embed(cube, model, tmp_path / "latents", dates="2018-05-20", client=workers)

    assert [store.path for store in opened] == [cube, tmp_path / "latents"]
