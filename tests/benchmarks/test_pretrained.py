"""The model that comes with the package is that of the recipe; its card says what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.pretrained.ablation import HALF_A_YEAR, later
from benchmarks.pretrained.card import card
from benchmarks.pretrained.latents_used import lost_without
from benchmarks.pretrained.recipe import KEPT_ASIDE, OPTICAL_AND_RADAR, PLACES, RECIPE
from benchmarks.pretrained.scores import mean_of, score_rotations
from benchmarks.pretrained.selection import EVERY
from benchmarks.pretrained.ship import SCORES, SIBLINGS
from benchmarks.pretrained.worlds import make_world, place_of, world_place
from terralatent.catalogs.simulation.climates.climate import CLIMATES
from terralatent.models.checkpoint import load_model, model_hash, read_manifest, save_model
from terralatent.models.shipped import CARD, model_folder
from terralatent.pipeline import open_cube
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
FOLDER = model_folder(RECIPE.name)
SHARES_AGREE = 2e-3
"""By how much a share of an error may differ on another processor: sums of float32 over some
hundred dates differ by parts in a hundred thousand, and a rare pixel falls on the other side of a
mask of outliers."""


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    return json.loads((FOLDER / SCORES).read_text())


def test_weights_scores_and_recipe_belong_together(scores: dict[str, Any]) -> None:
    record = read_manifest(FOLDER)["training"]
    assert record["recipe"] == {"sha256": RECIPE.digest(), **RECIPE.to_json()}
    assert scores["recipe"] == RECIPE.digest()
    assert scores["model"] == model_hash(FOLDER)
    assert scores["seed"] == record["settings"]["seed"]
    for name in PLACES:
        assert scores["siblings"][name] == model_hash(SIBLINGS / name)
        without = read_manifest(SIBLINGS / name)["training"]
        assert without["recipe"] == record["recipe"]
        assert {"store": PLACES[name]} not in without["cubes"]


def test_the_card_is_written_from_the_scores(scores: dict[str, Any]) -> None:
    written = card(RECIPE, scores)
    assert (FOLDER / CARD).read_text() == written
    assert (ROOT / "docs" / f"model-{RECIPE.name}.md").read_text() == written


def test_what_is_kept_aside_is_in_no_training() -> None:
    assert set(KEPT_ASIDE) < set(CLIMATES)
    assert not {world.climate for world in RECIPE.worlds()} & set(KEPT_ASIDE)
    assert len(set(RECIPE.worlds())) == len(RECIPE.worlds())


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(PLACES))
def test_a_place_that_was_never_seen_is_predicted_as_the_card_says(
    scores: dict[str, Any], name: str, tmp_path: Path
) -> None:
    catalogue = SHARED / PLACES[name]
    if not catalogue.exists():
        pytest.skip(f"there are no scenes at {catalogue}")
    place = place_of(tmp_path, SHARED, name, OPTICAL_AND_RADAR)
    again = mean_of(score_rotations(place, "development", SIBLINGS / name, EVERY))
    noted = scores["development"][name]
    for figure in ("all", "clean", "covers"):
        assert again[figure] == pytest.approx(noted[figure], rel=SHARES_AGREE)


@pytest.mark.soak
def test_a_climate_kept_aside_is_predicted_as_the_card_says(
    scores: dict[str, Any], tmp_path: Path
) -> None:
    world = RECIPE.aside()[0]
    make_world(tmp_path, RECIPE, world)
    again = mean_of(score_rotations(world_place(tmp_path, world), "development", FOLDER, EVERY))
    noted = scores["development"][world.climate]
    for name in ("all", "clean", "covers"):
        assert again[name] == pytest.approx(noted[name], rel=SHARES_AGREE)


def test_a_latent_that_no_decoder_reads_loses_nothing(tmp_path: Path) -> None:
    cube = tiny_cube(tmp_path / "cube", side=8, block=8)
    folder = made_up_model(cube, tmp_path / "model", latents=3)
    model = load_model(folder)
    with torch.no_grad():
        for sensor in model.config.sensors:
            decoder = model.sensor(sensor.name).decoder
            decoder.linear[:, 1] = 0.0  # the networks beside it are zero
    save_model(model, folder, {})
    lost = lost_without(folder, [cube])
    assert lost[1] == 0.0
    assert all(value != 0.0 for place, value in enumerate(lost) if place != 1)


def test_the_copy_of_a_cube_is_half_a_year_later_and_else_the_same(tmp_path: Path) -> None:
    cube = tiny_cube(tmp_path / "cube", side=8, block=8)
    copy = later(cube)
    assert later(cube) == copy
    for name, group in open_cube(cube).children.items():
        if "time" in group.coords:
            other = open_cube(copy)[name]
            assert (other.time.values - group.time.values == HALF_A_YEAR).all()
            for variable in group.data_vars:
                np.testing.assert_array_equal(other[variable].values, group[variable].values)
