"""One classifier for all tiles: fitted once, kept, the same in every map."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import classify, open_landcover
from terralatent.pipeline.fleet.fleet import Fleet
from tests.made.opened import labels_of_squares
from tests.pipeline.fleet.made import fleet_of_cubes

DATES = "2017-09-15,2018-03-15"


@pytest.fixture(scope="module")
def embedded(workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A fleet with latents in all tiles but one; not to be changed."""
    fleet, model = fleet_of_cubes(tmp_path_factory.mktemp("land") / "fleet", missing=("t11",))
    fleet.embed(str(model), dates=DATES, client=workers)
    return fleet


@pytest.fixture
def copy(embedded: Fleet, tmp_path: Path) -> Fleet:
    shutil.copytree(embedded.path.parent, tmp_path / "copy")
    return Fleet.open(tmp_path / "copy" / embedded.path.name)


def probes_of(fleet: Fleet) -> set[str]:
    """Digests of the probes that the maps were made by."""
    stores = [tile.store("landcover") for tile in fleet.tiles]
    return {str(own.group()["probe"].attrs["sha256"]) for own in stores if own.exists()}


def test_a_fleet_of_one_tile_is_classified_as_its_latents_alone(
    copy: Fleet, workers: Client, tmp_path: Path
) -> None:
    one = Fleet(copy.path, copy.tiles[:1])
    report = one.classify(labels_of_squares(), "crop", client=workers)
    alone = classify(
        copy.tiles[0].store("latents").address, labels_of_squares(), "crop", tmp_path / "alone",
        client=workers,
    )  # fmt: skip
    mapped = open_landcover(copy.tiles[0].store("landcover").address)
    wanted = open_landcover(tmp_path / "alone")
    np.testing.assert_array_equal(mapped["class"], wanted["class"])
    np.testing.assert_array_equal(mapped["probability"], wanted["probability"])
    assert report.scores == alone.scores
    assert report.areas == alone.areas


def test_all_tiles_are_mapped_by_one_classifier_and_later_ones_too(
    copy: Fleet, workers: Client
) -> None:
    labels = labels_of_squares()
    first = copy.classify(labels, "crop", client=workers)
    assert first.fleet.done == 3
    assert [lost.tile for lost in first.losses] == ["t11"]
    (probe,) = probes_of(copy)
    # The pixels of three tiles: each label lies in all of them, as their cubes do.
    assert first.learnt.labels == 3 * len(labels)
    assert first.learnt.groups == len(labels)

    shutil.copytree(copy.tiles[0].folder + "/cube", copy.tiles[3].folder + "/cube")
    model = str(copy.path.parent / "model")
    copy.embed(model, dates=DATES, client=workers)
    second = copy.classify(labels, "crop", client=workers)
    assert (second.fleet.before, second.fleet.done, second.losses) == (3, 1, ())
    assert probes_of(copy) == {probe}
    hectares = sum(second.areas.hectares().values())
    assert hectares == pytest.approx(4 * 18 * 17 * 100 / 1e4)


def test_other_labels_are_refused_and_have_maps_of_their_own(copy: Fleet, workers: Client) -> None:
    labels = labels_of_squares()
    copy.classify(labels, "crop", client=workers)
    with pytest.raises(InputError, match="pixels of other labels"):
        copy.classify(labels, "farm", client=workers)
    other = copy.classify(labels, "farm", name="farms", client=workers)
    assert other.fleet.done == 3
    assert copy.tiles[0].store("farms").exists()


@pytest.mark.soak
def test_squares_and_groups_part_labels_alike_in_all_tiles(copy: Fleet, workers: Client) -> None:
    labels = labels_of_squares()
    grouped = copy.classify(labels, "crop", group="farm", name="grouped", client=workers)
    assert grouped.learnt.groups == 2
    squares = copy.classify(labels, "crop", square=30.0, name="squares", client=workers)
    assert squares.learnt.groups == len(labels)


def test_labels_that_lie_nowhere_are_refused_before_any_tile_is_begun(
    copy: Fleet, workers: Client
) -> None:
    far = labels_of_squares()
    far = geopandas.GeoDataFrame(pd.DataFrame(far.drop(columns="geometry")),
                                 geometry=far.translate(1e5, 0), crs=far.crs)  # fmt: skip
    with pytest.raises(InputError, match="None of the 4 labels holds a pixel"):
        copy.classify(far, "crop", client=workers)
    with pytest.raises(InputError, match="no column 'none'"):
        copy.classify(labels_of_squares(), "none", client=workers)
    assert not any(tile.store("landcover").exists() for tile in copy.tiles)
