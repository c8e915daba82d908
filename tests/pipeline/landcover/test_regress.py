"""Maps of a number: what a pixel gets, how far off it is, and what cannot be mapped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import classify, open_landcover, regress
from terralatent.pipeline.store.repository import Store
from tests.made.latents import FIELD, OUTSIDE, SIDE, Fields


@pytest.mark.parametrize("name", ["ridge", "knn"])
def test_a_number_that_a_latent_follows_is_mapped(
    fields: Fields, workers: Client, tmp_path: Path, name: str
) -> None:
    out, cog = tmp_path / "map", tmp_path / "map.tif"
    report = regress(
        fields.latents, fields.frame, "number", out, regressor=name, cog=cog, client=workers
    )
    opened = open_landcover(out)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[:, : SIDE - OUTSIDE] = True
    truth = np.asarray(fields.frame["number"]).reshape(SIDE // FIELD, -1)
    truth = np.kron(truth, np.ones((FIELD, FIELD)))
    error = opened["mean"].values[inside] - truth[inside]

    assert np.isnan(opened["mean"].values[~inside]).all()
    assert np.isnan(opened["std"].values[~inside]).all()
    assert np.unique(opened["std"].values[inside]) == pytest.approx([report.scores.pixel_std])
    assert report.scores.r2.value > (0.6 if name == "ridge" else 0.2)
    if name == "ridge":
        assert np.sqrt((error**2).mean()) < 1.2 * report.scores.pixel_std
    with rasterio.open(cog) as file:
        np.testing.assert_array_equal(file.read(1), opened["mean"].values)
    kept = json.loads((tmp_path / "map.report.json").read_text())
    assert kept["cross_validated"]["rmse"]["value"] == pytest.approx(report.scores.rmse.value)
    again = regress(fields.latents, fields.frame, "number", out, regressor=name)
    assert again.map.computed == 0


def test_a_map_of_classes_is_not_gone_on_with_as_one_of_a_number(
    fields: Fields, land: Path
) -> None:
    before = Store.of(land).snapshot()
    with pytest.raises(InputError, match='task is "classes" there, "number" here'):
        regress(fields.latents, fields.frame, "number", land)
    assert Store.of(land).snapshot() == before


def test_a_map_of_a_number_gives_no_strata(fields: Fields, workers: Client, tmp_path: Path) -> None:
    regress(fields.latents, fields.frame, "number", tmp_path / "map", client=workers)
    with pytest.raises(
        InputError, match="is a map of a number; one of classes is wanted as strata"
    ):
        classify(
            fields.latents, fields.frame, "crop", tmp_path / "other", design="stratified",
            strata="crop", drawn_from=tmp_path / "map",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("column", "rows", "words"),
    [
        ("crop", 64, "The column 'crop' holds '.*', which is no finite number; `classify` is for"),
        ("number", 2, "The 2 labels on the latents are 2 groups; cross-validation wants 3"),
    ],
)
def test_what_cannot_be_mapped_is_named(
    fields: Fields, tmp_path: Path, column: str, rows: int, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        regress(fields.latents, fields.frame.iloc[:rows], column, tmp_path / "map")
    assert not (tmp_path / "map").exists()
