"""Maps of classes: what a pixel gets, whatever the tiling, the order and the interruptions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import xarray as xr
from distributed import Client
from shapely.geometry import Point
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from terralatent.catalogs.errors import InputError
from terralatent.models.shipped import DEFAULT
from terralatent.pipeline import classify, open_cube, open_landcover, open_latents, status
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.landcover.arrays import STEPS, pack_probabilities
from terralatent.pipeline.landcover.features import LatentFeatures, find_features
from terralatent.pipeline.store.repository import Store
from tests.commands.contents import contents
from tests.made.latents import DATES, LATENTS, NAMES, OUTSIDE, SIDE, Fields, made_up_fields
from tests.netcdf import assert_same_in_netcdf


def test_the_map_is_the_truth_and_empty_outside_every_scene(fields: Fields, land: Path) -> None:
    opened = open_landcover(land)
    inside = np.isfinite(open_latents(fields.latents)["mean"].values).all(axis=(0, 1))
    names = np.array(opened["class"].attrs["class_names"])

    assert names.tolist() == list(NAMES)
    right = opened["class"].values[inside] == fields.classes[inside] + 1
    assert right.mean() > 0.98
    assert (opened["class"].values[~inside] == 0).all()
    assert np.isnan(opened["probability"].values[:, ~inside]).all()
    assert np.isnan(opened["entropy"].values[~inside]).all()
    assert int((~inside).sum()) == SIDE * OUTSIDE


@pytest.mark.soak
def test_a_lazy_map_is_the_one_that_is_kept(fields: Fields, land: Path) -> None:
    """Of a path or a Dataset, in memory or in any chunks, by whatever computes it."""
    kept, latents = open_landcover(land), open_latents(fields.latents)
    for given in (fields.latents, latents, latents.compute(), latents.chunk({"y": 9, "x": 13})):
        found = classify(given, fields.frame, "crop")
        assert all(found[name].chunks for name in found.data_vars)
        assert found["class"].attrs["class_names"] == list(NAMES)
        for name in ("class", "probability", "entropy"):
            np.testing.assert_allclose(found[name], kept[name], rtol=0, atol=1e-6)
            assert found[name].dims == kept[name].dims
        xr.testing.assert_equal(found.coords.to_dataset(), kept.coords.to_dataset())
    report = json.loads(land.with_name("map.report.json").read_text())
    accuracy = report["cross_validated"]["accuracy"]
    assert found.attrs["accuracy"] == pytest.approx(accuracy["value"])
    assert found.attrs["accuracy_interval"] == pytest.approx([accuracy["low"], accuracy["high"]])


def test_a_part_of_the_region_is_mapped_as_the_whole_is(fields: Fields, land: Path) -> None:
    latents = open_latents(fields.latents)
    found = classify(latents, fields.frame, "crop").isel(y=slice(3, 20), x=slice(1, 9)).compute()
    kept = open_landcover(land).isel(y=slice(3, 20), x=slice(1, 9))
    np.testing.assert_array_equal(found["class"], kept["class"])


def test_what_is_kept_needs_a_store(fields: Fields, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cog=, report= and design= are of a map that is kept"):
        classify(fields.latents, fields.frame, "crop", cog=tmp_path / "map.tif")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="keep these first"):
        classify(open_latents(fields.latents), fields.frame, "crop", tmp_path / "map")  # type: ignore[call-overload]


def test_probabilities_sum_to_one_and_the_class_has_the_largest(land: Path) -> None:
    opened = open_landcover(land)
    inside = opened["class"].values > 0
    stored = np.asarray(Store.of(land).group()["probability"])[:, inside].astype(int)
    chances = opened["probability"].values[:, inside]
    own = opened["class"].values[inside].astype(int) - 1

    assert (stored.sum(axis=0) == STEPS).all()
    assert (np.take_along_axis(stored, own[None], axis=0)[0] == stored.max(axis=0)).all()
    bits = -(chances * np.log2(np.clip(chances, 1e-9, 1.0))).sum(axis=0)
    np.testing.assert_allclose(opened["entropy"].values[inside], bits, atol=0.06)


def test_packed_probabilities_are_within_a_step_and_none_overtakes() -> None:
    random = np.random.default_rng(0)
    chances = random.dirichlet(np.full(7, 0.3), 500)
    packed = pack_probabilities(chances).astype(int)
    assert (packed.sum(axis=1) == STEPS).all()
    assert np.abs(packed / STEPS - chances).max() < 1.0 / STEPS
    order = np.argsort(chances, axis=1)
    assert (np.diff(np.take_along_axis(packed, order, axis=1), axis=1) >= 0).all()


def test_two_tilings_give_the_same_map(
    fields: Fields, land: Path, workers: Client, tmp_path: Path
) -> None:
    other = made_up_fields(tmp_path / "latents", block=SIDE)
    classify(other.latents, other.frame, "crop", tmp_path / "whole", client=workers)

    group, wanted = Store.of(tmp_path / "whole").group(), Store.of(land).group()
    np.testing.assert_array_equal(group["class"][...], wanted["class"][...])
    steps = np.abs(np.asarray(group["probability"]) - np.asarray(wanted["probability"], int))
    assert steps.max() <= 1


def test_areas_sum_to_the_region(fields: Fields, land: Path) -> None:
    report = json.loads(land.with_name("map.report.json").read_text())
    areas = sum(row["mapped_ha"] for row in report["areas"])
    assert areas + report["area_without_class_ha"] == pytest.approx((SIDE * 10.0) ** 2 / 1e4)
    assert sum(row["mapped_share"] for row in report["areas"]) == pytest.approx(1.0)
    assert report["area_error"].startswith("no design-based error")
    counted = np.bincount(open_landcover(land)["class"].values.ravel(), minlength=4)[1:]
    assert [row["mapped_ha"] for row in report["areas"]] == pytest.approx(list(counted * 0.01))


def test_a_report_has_all_that_was_scored(fields: Fields, land: Path) -> None:
    report = json.loads(land.with_name("map.report.json").read_text())
    scores, learnt = report["cross_validated"], report["learnt_from"]
    inside = len(fields.frame) * (SIDE - OUTSIDE) // SIDE
    assert learnt["labels"] == learnt["groups"] == inside
    assert learnt["features"] == DATES * LATENTS
    assert sum(learnt["labels_of_class"].values()) == inside
    assert np.array(scores["confusion"]["labels"]).sum(axis=1) == pytest.approx(
        list(learnt["labels_of_class"].values())
    )
    assert scores["accuracy"]["low"] <= scores["accuracy"]["value"] <= scores["accuracy"]["high"]
    assert scores["accuracy"]["value"] > 0.95


def test_what_a_label_has_by_itself_is_not_taken_for_skill(workers: Client, tmp_path: Path) -> None:
    """Where latents know nothing of classes, pixels of a label still are alike: by pixels, the
    nearest neighbour would be right nearly always."""
    blind = made_up_fields(tmp_path / "latents", apart=0.0)
    report = classify(
        blind.latents, blind.frame, "crop", tmp_path / "map", classifier="knn", client=workers
    )
    assert report.scores.accuracy.value < 0.55
    mapped = open_landcover(tmp_path / "map")["class"].values
    there = mapped > 0
    assert (mapped[there] == blind.classes[there] + 1).mean() > 0.85


def test_groups_are_hidden_together(fields: Fields, workers: Client, tmp_path: Path) -> None:
    report = classify(
        fields.latents, fields.frame, "crop", tmp_path / "map", group="farm", client=workers
    )
    assert report.learnt.parted_by == "farm"
    assert report.learnt.groups == fields.frame["farm"].nunique()


@pytest.mark.parametrize(
    "name",
    [
        *("logit", "sklearn.naive_bayes:GaussianNB"),
        *(pytest.param(name, marks=pytest.mark.soak) for name in ("rf", "svm", "knn")),
    ],
)
def test_any_classifier_of_the_kind_of_scikit_learn_will_do(
    fields: Fields,
    workers: Client,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("terralatent.pipeline.probes.estimators.TREES", 10)
    few = fields.frame.groupby("crop").head(4)
    report = classify(
        fields.latents, few, "crop", tmp_path / "map", classifier=name, client=workers
    )
    mapped = open_landcover(tmp_path / "map")["class"].values
    there = mapped > 0
    assert (mapped[there] == fields.classes[there] + 1).mean() > 0.85
    assert report.temperature > 0.0


def test_an_estimator_is_taken_as_it_is(fields: Fields, workers: Client, tmp_path: Path) -> None:
    own = make_pipeline(PolynomialFeatures(1), GaussianNB())
    classify(
        fields.latents, fields.frame, "crop", tmp_path / "map", classifier=own, with_std=True,
        client=workers,
    )  # fmt: skip
    about = Store.of(tmp_path / "map").about()["identity"]
    assert about["estimator"].startswith("sklearn.pipeline:Pipeline(")
    assert about["with_std"] is True


def test_maps_are_written_to_netcdf(land: Path, tmp_path: Path) -> None:
    assert_same_in_netcdf(open_landcover(land), tmp_path)


def test_codes_are_the_values_of_pixels_and_some_are_ignored(
    fields: Fields, workers: Client, tmp_path: Path
) -> None:
    out = tmp_path / "map"
    classify(fields.latents, fields.frame, "code", out, ignore=["31"], client=workers,
             colours={"11": "#00ff00"})  # fmt: skip
    opened = open_landcover(out)
    assert opened["class"].attrs["flag_values"] == [11, 21]
    assert opened["class"].attrs["flag_colors"].split()[0] == "#00ff00"
    assert set(np.unique(opened["class"])) == {0, 11, 21}


def test_the_same_command_again_computes_nothing(fields: Fields, land: Path) -> None:
    before = contents(land)
    report = classify(fields.latents, fields.frame, "crop", land, client="tcp://nobody:1")
    assert (report.map.computed, report.losses) == (0, ())
    assert contents(land) == before


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"classifier": "logit"}, 'estimator is "lda" there, "logit" here'),
        ({"with_std": True}, "with_std is false there, true here"),
        ({"ignore": ["water"]}, "classes.water is 3 there, absent here; labels is"),
        ({"group": "farm"}, "labels is"),
        ({"seed": 1}, "seed is 0 there, 1 here"),
    ],
)
def test_a_map_of_something_else_is_refused_and_unharmed(
    fields: Fields, land: Path, changed: dict[str, Any], words: str
) -> None:
    before = Store.of(land).snapshot()
    with pytest.raises(InputError, match=f"holds something else: .*{words}"):
        classify(fields.latents, fields.frame, "crop", land, **changed)
    assert Store.of(land).snapshot() == before


def test_a_block_that_fails_is_named_and_done_by_the_next_run(
    fields: Fields,
    land: Path,
    workers: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = LatentFeatures.window

    def fails(self: LatentFeatures, y: slice, x: slice) -> Any:
        if (y.start, y.stop, x.start, x.stop) == (16, 32, 0, 16):
            raise OSError("the disk is on fire")
        return read(self, y, x)

    out = tmp_path / "map"
    with monkeypatch.context() as patch:
        patch.setattr(LatentFeatures, "window", fails)
        # Labels are read through windows too, but none ends at just these edges.
        first = classify(fields.latents, fields.frame, "crop", out, client=workers)
    (lost,) = first.losses
    assert str(lost).startswith("block (1, 0): OSError: the disk is on fire")
    assert (open_landcover(out)["class"].values[16:, :16] == 0).all()

    second = classify(fields.latents, fields.frame, "crop", out, client=workers)

    assert (first.map.computed, second.map.computed) == (3, 1)
    assert contents(out) == contents(land)


def test_a_map_of_latents_that_are_not_whole_is_marked(workers: Client, tmp_path: Path) -> None:
    fields = made_up_fields(tmp_path / "latents", pending=True)
    report = classify(fields.latents, fields.frame, "crop", tmp_path / "map", client=workers)
    assert report.losses == ("the latents are not whole in 1 blocks: (0, 0)",)
    assert (open_landcover(tmp_path / "map")["class"].values[:16, :16] == 0).all()
    assert report.areas.none == SIDE * OUTSIDE + 16 * 16


def test_exported_latents_and_an_exported_map_are_read_as_well(
    fields: Fields, land: Path, workers: Client, tmp_path: Path
) -> None:
    plain = export(fields.latents, tmp_path / "latents.zarr")
    classify(plain, fields.frame, "crop", tmp_path / "map", client=workers)
    copy = export(land, tmp_path / "map.zarr")
    for name in ("class", "probability", "entropy"):
        wanted = open_landcover(land)[name].values
        np.testing.assert_array_equal(open_landcover(tmp_path / "map")[name], wanted)
        np.testing.assert_array_equal(open_landcover(copy)[name], wanted)


def test_status_knows_a_map(land: Path) -> None:
    report = status(land)
    assert report.kind == "landcover"
    assert report.result is not None
    assert report.result.classes == {"grass": 1, "maize": 2, "water": 3}
    assert report.result.blocks is not None
    assert report.result.blocks.done == report.result.blocks.total == 4
    assert set(report.result.arrays) == {"class", "probability", "entropy"}


SINGLE = r"The class .maize. has one label on the latents, .* leave the class out with ignore=..ma"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("one class", "All of the .* labels that lie on the latents are 'grass'; a map of classes"),
        ("one label", SINGLE),
        ("one group", "All .* labels of the class 'maize' lie in one group of farm, which cross-v"),
        ("no estimator", "no estimator 'forest'; give lda, logit, rf, svm, knn, or any of"),
        ("no module", "The estimator nothing:here cannot be loaded .ModuleNotFoundError"),
        ("no fit", "math:sqrt is a .*, which has no fit, predict and get_params"),
        ("no latents", "is a landcover store; latents or annual vectors are wanted here"),
        ("no tif", "a COG is a local file that ends in .tif"),
        ("no design", "The design 'random' is unknown; give stratified"),
        ("no strata", "give both the design `stratified` and the column of the strata, or neither"),
        ("little memory", "takes a worker of one thread at least 0.8GB of memory"),
    ],
)
def test_what_cannot_be_mapped_is_named_and_nothing_is_made(
    fields: Fields, land: Path, tmp_path: Path, wrong: str, words: str
) -> None:
    frame, latents = fields.frame.copy(), fields.latents
    maize = np.flatnonzero((frame["crop"] == "maize") & (frame.index % 8 < 6))
    more: dict[str, Any] = {}
    if wrong == "one class":
        more = {"ignore": ["maize", "water"]}
    elif wrong == "one label":
        frame = frame[(frame["crop"] != "maize") | (frame.index == maize[0])]
    elif wrong == "one group":
        frame["farm"] = np.where(frame["crop"] == "maize", -1, frame["farm"])
        more = {"group": "farm"}
    elif wrong == "no latents":
        latents = land
    else:
        more = {
            "no estimator": {"classifier": "forest"},
            "no module": {"classifier": "nothing:here"},
            "no fit": {"classifier": "math:sqrt"},
            "no tif": {"cog": "map.png"},
            "no design": {"design": "random"},
            "no strata": {"design": "stratified"},
            "little memory": {"memory": "710MB"},
        }[wrong]
    with pytest.raises(InputError, match=words):
        classify(latents, frame, "crop", tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.report.json").exists()


def test_an_estimator_beside_the_command_is_found(
    fields: Fields, workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_estimators.py").write_text(
        "from sklearn.discriminant_analysis import LinearDiscriminantAnalysis\n"
        "def lda():\n    return LinearDiscriminantAnalysis()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    classify(fields.latents, fields.frame, "crop", "map", classifier="own_estimators:lda",
             client=workers)  # fmt: skip
    assert Store.of("map").about()["identity"]["estimator"] == "own_estimators:lda"


def test_a_sample_drawn_from_a_map_gives_areas_their_errors(
    fields: Fields, land: Path, workers: Client, tmp_path: Path
) -> None:
    mapped = open_landcover(land)["class"]
    centres = fields.frame.geometry.centroid
    nearest = mapped.sel(x=centres.x.to_xarray(), y=centres.y.to_xarray(), method="nearest")
    names = np.array(["none", *NAMES], object)
    drawn = fields.frame.assign(stratum=names[nearest.values])
    drawn = drawn[drawn["stratum"] != "none"]
    report = classify(
        fields.latents, drawn, "crop", tmp_path / "map", design="stratified", strata="stratum",
        drawn_from=land, client=workers,
    )  # fmt: skip
    assert report.design is not None
    assert sum(share.value for share in report.design.shares.values()) == pytest.approx(1.0)
    assert sum(report.design.strata.values()) == pytest.approx(1.0)
    rows = {row["class"]: row for row in report.to_json()["areas"]}
    for name in NAMES:
        share = report.design.shares[name]
        assert rows[name]["low_ha"] <= rows[name]["estimated_ha"] <= rows[name]["high_ha"]
        assert share.value == pytest.approx(rows[name]["mapped_share"], abs=0.1)
    assert 0.9 < report.design.accuracy.value <= 1.0


def test_features_are_means_and_stds_at_the_dates(fields: Fields) -> None:
    opened = open_latents(fields.latents)
    rows, columns = np.array([3, 20, 31]), np.array([0, 17, 27])
    features = find_features(fields.latents, None, with_std=True).at(rows, columns)
    assert features.dtype == np.float32
    for n, (y, x) in enumerate(zip(rows, columns, strict=True)):
        pixel = opened.isel(y=y, x=x)
        wanted = np.concatenate([pixel["mean"].values.ravel(), pixel["std"].values.ravel()])
        np.testing.assert_array_equal(features[n], wanted)


def test_a_cube_is_embedded_first_and_mapped_as_its_latents_are(
    cube: Path, workers: Client, tmp_path: Path
) -> None:
    grid = open_cube(cube)["sentinel-2-l2a"].ds.odc.geobox
    rows, columns = grid.shape
    corners = [(y, x) for y in (0.1, 0.3, 0.5, 0.7) for x in (0.3, 0.6)]
    places = [grid.affine * (x * columns, y * rows) for y, x in corners]
    frame = geopandas.GeoDataFrame(
        {"kind": [f"{number % 2}" for number in range(len(places))]},
        geometry=[Point(place).buffer(25.0) for place in places],
        crs=str(grid.crs),
    )
    with pytest.raises(InputError, match="crop"):  # before anything is inferred
        classify(cube, frame, "crop", tmp_path / "map", client=workers)
    assert not (tmp_path / "map.latents").exists()

    classify(cube, frame, "kind", tmp_path / "map", client=workers)
    again = classify(cube, frame, "kind", tmp_path / "map", client=workers)
    latents = tmp_path / "map.latents"
    classify(latents, frame, "kind", tmp_path / "same", client=workers)

    assert again.map.computed == 0
    assert open_latents(latents).attrs["model_name"] == DEFAULT
    mapped = [open_landcover(tmp_path / name)["class"].values for name in ("map", "same")]
    np.testing.assert_array_equal(*mapped)
    assert (mapped[0] > 0).any()
