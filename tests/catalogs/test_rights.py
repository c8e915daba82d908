"""A file of scenes grants itself nothing: what its items may name is for its user to say."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes import rights
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sources import SOURCES
from terralatent.pipeline.cli.scenes import choose_scenes
from tests.made.catalogue import region

MAY = ("2018-05-01", "2018-05-31")
EVERYTHING = {"folder": "/", "hosts": ["*"], "own": "localhost"}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's searches note what their files may name."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "terralatent" / "searches"


@pytest.fixture
def kept(made_up: Scenes, tmp_path: Path, state: Path) -> Path:
    """A file of scenes whose items name files of a folder elsewhere."""
    path = tmp_path / "files" / "scenes.parquet"
    made_up.to_parquet(path)
    return path


def rewritten(path: Path, **facts: Any) -> Path:
    """The same items in a file that says other things of itself."""
    table = pq.read_table(path)
    key = b"terralatent:search"
    stated = {**json.loads(table.schema.metadata[key]), **facts}
    metadata = {**table.schema.metadata, key: json.dumps(stated).encode()}
    other = path.with_name("other.parquet")
    pq.write_table(table.replace_schema_metadata(metadata), other)
    return other


@pytest.mark.parametrize("facts", [{}, {"access": EVERYTHING}, {"hosts": ["*"], "folder": "/"},
                                   {"source": "/", "access": EVERYTHING}])  # fmt: skip
def test_a_file_reads_nothing_outside_whatever_it_says_of_itself(
    kept: Path, facts: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"may not be read: it leaves the folder .* by source="):
        Scenes.from_parquet(rewritten(kept, **facts))


def test_a_file_that_a_search_of_this_user_wrote_is_read_wherever_it_lies(
    kept: Path, made_up: Scenes, tmp_path: Path
) -> None:
    moved = Path(shutil.move(kept, tmp_path / "moved.parquet"))
    again = Scenes.from_parquet(moved)
    assert (again.access, again.digest) == (made_up.access, made_up.digest)
    assert b"access" not in pq.read_metadata(moved).metadata[b"terralatent:search"]


def test_whoever_names_the_source_vouches_for_the_file(
    kept: Path, made_up: Scenes, catalogue: Path
) -> None:
    for chosen in (
        Scenes.from_parquet(rewritten(kept, access=EVERYTHING), source=catalogue),
        choose_scenes("", kept=str(rewritten(kept)), source=str(catalogue), say=lambda _: None),
    ):
        assert (chosen.access, chosen.digest) == (Access(str(catalogue)), made_up.digest)


def test_a_source_of_the_users_registry_may_do_what_its_table_says(
    kept: Path, made_up: Scenes, catalogue: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(f'[sources.archive]\nwhere = "{catalogue}"\nhosts = ["*.example.org"]\n')
    again = Scenes.from_parquet(rewritten(kept, source="archive", access=EVERYTHING), [own])
    assert again.access == Access(str(catalogue), ("*.example.org",))
    assert again.digest == made_up.digest


def test_a_built_in_source_needs_no_note(
    made_up: Scenes, tmp_path: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = SOURCES["planetary-computer"]
    period, wanted = made_up.period, made_up.wanted
    scenes = Scenes.gather(made_up.items, wanted, source=place, period=period)
    scenes.to_parquet(tmp_path / "scenes.parquet")
    assert not state.exists()
    assert Scenes.from_parquet(tmp_path / "scenes.parquet").access == place.access


def test_of_a_file_that_nobody_vouches_for_the_rest_is_read_and_the_refused_named(
    kept: Path, catalogue: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    item = json.loads(next(catalogue.rglob("S2_A*.json")).read_text())
    for asset in item["assets"].values():
        asset["href"] = f"https://example.org/{Path(asset['href']).name}"
    folder = shutil.copytree(catalogue, kept.parent.parent / "elsewhere")
    (folder / "public.json").write_text(json.dumps({**item, "id": "public"}))
    search_scenes(folder, region(), *MAY).to_parquet(kept)
    shutil.rmtree(state)
    with caplog.at_level(logging.WARNING):
        scenes = Scenes.from_parquet(kept)
    assert [item["id"] for a in scenes.acquisitions("sentinel-2-l2a") for item in a.items] == [
        "public"
    ]
    assert "No search of yours wrote this file on this machine" in caplog.text


def test_where_nothing_can_be_noted_a_search_says_so(
    made_up: Scenes, tmp_path: Path, caplog: pytest.LogCaptureFixture, state: Path
) -> None:
    state.parent.parent.write_text("no folder")
    with caplog.at_level(logging.WARNING):
        made_up.to_parquet(tmp_path / "scenes.parquet")
    assert "whoever reads it gives source=" in caplog.text
    assert rights.rights_of(tmp_path / "scenes.parquet") is None


def test_notes_do_not_pile_up_and_those_that_are_damaged_count_for_nothing(
    kept: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights, "_MOST", 2)
    for number in range(4):
        rights.keep_rights(rewritten(kept, mark=number), Access("/"))
    assert len(list(state.iterdir())) == 2
    newest = rewritten(kept, mark=3)
    assert rights.rights_of(newest) == Access("/")
    for note in state.iterdir():
        note.write_text('{"folder": 5}')
    assert rights.rights_of(newest) is None
