"""How fleets stand: by notes and without them, in numbers and in a picture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.fleet.fleet import Fleet
from terralatent.pipeline.fleet.picture import save_picture, stage_of
from tests.pipeline.fleet.made import COMPONENTS, fleet_of_cubes, planned_fleet

DATES = "2017-09-15,2018-03-15"


@pytest.fixture(scope="module")
def fleet(workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Cubes in three tiles, latents in these and a failure in the fourth, annual vectors; not to
    be changed."""
    made, model = fleet_of_cubes(tmp_path_factory.mktemp("status") / "fleet", missing=("t01",))
    made.embed(str(model), dates=DATES, client=workers)
    one = Fleet(made.path, made.tiles[:1])
    one.annual(str(model), window="2017-08-01/2018-07-31", components=COMPONENTS, client=workers)
    return made


def test_states_are_counted_by_store(fleet: Fleet) -> None:
    found = fleet.status()
    counts = {
        kind: {state: count for state, count in own.items() if count}
        for kind, own in found.counts().items()
    }
    assert counts == {
        "cube": {"done": 3, "none": 1},
        "latents": {"done": 3, "failed": 1},
        "annual": {"done": 1, "none": 3},
        "landcover": {"none": 4},
    }
    ((tile, kind, reason),) = found.failed()
    assert (tile, kind) == ("t01", "latents")
    assert "there is no store here" in reason
    assert [stage_of(own) for own in found.tiles] == [
        "annual vectors", "latents", "failed", "latents",
    ]  # fmt: skip
    assert "3 done" in repr(found)
    assert json.loads(json.dumps(found.to_json()))["counts"] == found.counts()


def test_without_notes_the_stores_say_the_same(fleet: Fleet, tmp_path: Path) -> None:
    shutil.copytree(fleet.path.parent, tmp_path / "copy")
    copy = Fleet.open(tmp_path / "copy" / fleet.path.name)
    for notes in (tmp_path / "copy").rglob(".fleet"):
        shutil.rmtree(notes)
    found, noted = copy.status().counts(), fleet.status().counts()
    assert found["latents"] == {**noted["latents"], "failed": 0, "none": 1}
    assert all(found[kind] == noted[kind] for kind in ("cube", "annual", "landcover"))


def test_a_picture_is_drawn_of_any_fleet(fleet: Fleet, tmp_path: Path) -> None:
    save_picture(fleet.status(), tmp_path / "some.png")
    save_picture(planned_fleet(tmp_path / "planned", 3).status(), tmp_path / "none.png")
    assert all((tmp_path / name).stat().st_size > 5_000 for name in ("some.png", "none.png"))
    with pytest.raises(InputError, match="cannot be drawn"):
        save_picture(fleet.status(), tmp_path / "some.odd")
