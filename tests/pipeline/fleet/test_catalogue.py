"""The root catalogue of a fleet, read by pystac."""

from __future__ import annotations

from pathlib import Path

import pystac
import pytest
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.fleet.fleet import Fleet
from tests.pipeline.fleet.made import planned_fleet


@pytest.fixture(scope="module")
def fleet(catalogue: Path, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A fleet with cubes of radar; not to be changed."""
    made = planned_fleet(tmp_path_factory.mktemp("published"))
    made.build(catalogue, "2018-05", "2018-05", sensors=["sentinel-1-asc"], client=workers)
    return made


def test_the_root_leads_to_a_collection_and_items_of_each_tile(
    fleet: Fleet, tmp_path: Path
) -> None:
    out = tmp_path / "catalogue"
    report = fleet.publish(out, kinds=["cube"], licence="CC-BY-4.0", title="All of it")
    assert (report.done, report.losses) == (4, ())
    root = pystac.Catalog.from_file(str(out / "catalog.json"))
    assert (root.id, root.title) == ("fleet", "All of it")
    assert [link.title for link in root.get_child_links()] == [
        f"{tile.name} cube" for tile in fleet.tiles
    ]
    collections = {own.id for own in root.get_all_collections()}
    assert collections == {f"{tile.name}-cube" for tile in fleet.tiles}
    items = list(root.get_items(recursive=True))
    assert items
    assert {item.collection_id for item in items} == collections

    before = {path: path.read_bytes() for path in out.rglob("*.json")}
    fleet.publish(out, kinds=["cube"])
    assert {path: path.read_bytes() for path in out.rglob("*.json")} == before


def test_a_tile_that_cannot_be_published_is_named_and_left_out(
    fleet: Fleet, tmp_path: Path
) -> None:
    part = Fleet(fleet.path, fleet.tiles[:2])
    stranger = tmp_path / "out" / part.tiles[0].name / "cube"
    stranger.mkdir(parents=True)
    (stranger / "catalog.json").write_text("{}")
    report = part.publish(tmp_path / "out", kinds=["cube"], licence="CC-BY-4.0", name="two")
    (lost,) = report.losses
    assert lost.tile == part.tiles[0].name
    assert "not a publication" in lost.reason


def test_nothing_to_publish_and_strangers_are_refused(fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No tile has latents"):
        fleet.publish(tmp_path / "a", licence="CC-BY-4.0")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not the catalogue of the fleet"):
        fleet.publish(tmp_path / "b", kinds=["cube"], licence="CC-BY-4.0")
    with pytest.raises(InputError, match="Tiles have no 'maps'"):
        fleet.publish(tmp_path / "c", kinds=["maps"], licence="CC-BY-4.0")
