"""Where no model is named, the one that comes with the package maps a cube, and is named there."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from rich.console import Console

from terralatent.catalogs.errors import InputError
from terralatent.models import shipped
from terralatent.models.checkpoint import model_hash
from terralatent.models.shipped import DEFAULT, model_folder
from terralatent.pipeline.cli.pages.status import status_page
from terralatent.pipeline.info.status import status
from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.mapping.opened import open_latents
from terralatent.pipeline.mapping.results.fill import model_of
from terralatent.pipeline.store.repository import Store
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cube(tmp_path_factory.mktemp("cube") / "cube", side=12, block=12)


@pytest.fixture(scope="module")
def latents(cube: Path, workers: Client) -> Path:
    out = cube.with_name("latents")
    embed(cube, out=out, dates="2018-03-01,2018-06-01", client=workers)
    return out


def test_the_store_says_by_name_version_and_hash_which_model_it_was(latents: Path) -> None:
    attrs = open_latents(latents).attrs
    assert attrs["model_name"] == DEFAULT
    assert attrs["model_version"]
    assert attrs["model_hash"] == model_hash(model_folder(DEFAULT))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(status_page(status(latents)))
    page = console.export_text()
    assert f"{DEFAULT}, version {attrs['model_version']}" in page
    assert attrs["model_hash"] in page


def test_its_name_gives_the_same_latents(
    cube: Path, latents: Path, workers: Client, tmp_path: Path
) -> None:
    named = tmp_path / "named"
    embed(cube, DEFAULT, named, dates="2018-03-01,2018-06-01", client=workers)
    for name in ("mean", "std"):
        np.testing.assert_array_equal(open_latents(named)[name], open_latents(latents)[name])


def test_an_upgrade_changes_no_model_of_a_result_that_was_begun(
    cube: Path, latents: Path, workers: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "DEFAULT", "a-later-one")
    with pytest.raises(ValueError, match="a-later-one"):
        embed(cube, out=latents.with_name("new"), dates="2018-03-01", client=workers)
    # The same call as before goes on with what the store names, and finds nothing to do.
    report = embed(cube, out=latents, dates="2018-03-01,2018-06-01", client=workers)
    assert report.computed == 0
    assert open_latents(latents).attrs["model_name"] == DEFAULT


def test_a_job_names_it_and_no_path_so_that_workers_find_their_own(cube: Path) -> None:
    assert plan_job(cube, None, "monthly").model == DEFAULT


def test_a_result_by_a_model_of_a_folder_names_none(
    cube: Path, workers: Client, tmp_path: Path
) -> None:
    model = made_up_model(cube, tmp_path / "model")
    out = tmp_path / "out"
    embed(cube, model, out, dates="2018-03-01", client=workers)
    assert model_of(Store.of(out)) is None
    assert "model_name" not in open_latents(out).attrs
    # Going on without naming it would be going on with another one.
    with pytest.raises(InputError, match="model"):
        embed(cube, out=out, dates="2018-03-01", client=workers)
