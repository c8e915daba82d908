"""From a path or a URL to the result, each store is entered once."""

from __future__ import annotations

from pathlib import Path

import icechunk
import pytest
from distributed import Client

from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.store.repository import Store
from tests.made.models import made_up_model


def test_an_embedding_opens_the_repositories_of_cube_and_result_once(
    cube: Path, workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the coordinator; a commit opens its own, because one that stays open remembers chunks."""
    model = made_up_model(cube, tmp_path / "model")
    opened: list[str] = []
    anew: list[str] = []
    repository, open_ = Store.repository, icechunk.Repository.open

    def recorded(self: Store, *, anew_: bool = False) -> icechunk.Repository:
        if anew_:
            anew.append(self.name)
        return repository(self, anew=anew_)

    monkeypatch.setattr(Store, "repository", lambda self, anew=False: recorded(self, anew_=anew))

    def counted(storage: icechunk.Storage, *rest: object) -> icechunk.Repository:
        opened.append(str(storage))
        return open_(storage, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(icechunk.Repository, "open", counted)
    report = embed(cube, model, tmp_path / "latents", dates="2018-05-20", client=workers)

    assert report.computed == report.blocks
    print(opened, anew)
