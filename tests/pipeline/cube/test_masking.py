"""One masking for all readers of a cube: rule, dilation and outliers, whatever the tiling."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.clear import ClearRule
from terralatent.models.checkpoint import load_model, read_manifest, save_model
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import DISTANCE_CAP
from terralatent.pipeline import embed, open_latents, train
from terralatent.pipeline.cube.masking import (
    AS_STORED,
    Masking,
    MaskingRequest,
    Masks,
    clear_sky,
    mask_bands,
    parse_masking,
    settle,
)
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.cube.reading import Reading
from terralatent.pipeline.cube.series import SeriesBlock, read_series
from terralatent.pipeline.fields.means import field_means
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.region import blocks
from terralatent.pipeline.store.repository import Store
from terralatent.pipeline.training.state import EARLIER, TrainingFolder
from tests.commands.processes import Launcher
from tests.made.catalogue import SIDE, region
from tests.made.models import made_up_model
from tests.made.rough import make_rough
from tests.made.tiny import tiny_cube
from tests.pipeline.cube import clear_rules
from tests.servers.schedulers import cluster_in
from tests.waiting import WITHIN_S

S2, S1 = "sentinel-2-l2a", "sentinel-1-asc"
BANDS: dict[str, str | None] = {S2: "uint8", S1: None}
RULES = "tests.pipeline.cube.clear_rules"
VEGETATION, ANYTHING = f"{RULES}:vegetation", f"{RULES}:anything"
DATES = "2018-05-04,2018-05-20"


@pytest.fixture(scope="module")
def group(cube: Path) -> zarr.Group:
    return Store.of(cube).group()


@pytest.fixture(scope="module")
def wide_blocks(made_up: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cube of the fixture ``cube`` in one block."""
    path = tmp_path_factory.mktemp("wide") / "cube"
    build_cube(made_up, region(), path, block=64, client=workers)
    return path


@pytest.fixture(scope="module")
def model(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_model(cube, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cube with a longer series, whose clouds are bright; its last column is never seen."""
    return tiny_cube(tmp_path_factory.mktemp("bright") / "cube", side=12, block=6)


def noted(model: Path, folder: Path, masking: dict[str, Any]) -> Path:
    """The same model, which notes that it was trained with a masking."""
    save_model(load_model(model), folder, {"settings": {"masking": masking}})
    return folder


def read(
    group: zarr.Group, masking: MaskingRequest, side: int = SIDE
) -> list[tuple[Any, SeriesBlock]]:
    """All series of a cube, in windows of ``side``."""
    masks = settle(mask_bands(group, [S2, S1]), masking)
    rows, columns = group[f"{S2}/data"].shape[-2:]
    return [
        (block, read_series(group, [S2, S1], block.y, block.x, masks))
        for block in blocks((rows, columns), side)
    ]


def image(of: Callable[[Any], np.ndarray], parts: list[tuple[Any, SeriesBlock]]) -> np.ndarray:
    """What Sentinel-2's series hold, laid out again, (T, y, x)."""
    rows, columns = (max(getattr(block, axis).stop for block, _ in parts) for axis in "yx")
    whole = None
    for block, series in parts:
        part = of(series.by_sensor[S2]).T
        if whole is None:
            whole = np.zeros((len(part), rows, columns), part.dtype)
        whole[:, block.y, block.x] = part.reshape(len(part), *block.shape)
    assert whole is not None
    return whole


def disc(pixels: int) -> np.ndarray:
    """Which offsets lie within so many pixels."""
    along = np.arange(-pixels, pixels + 1)
    return np.asarray(along[:, None] ** 2 + along[None, :] ** 2 <= pixels**2)


def dilated(quality: np.ndarray, pixels: int) -> np.ndarray:
    """What is masked of a whole image by the classes and their dilation, one date at a time."""
    masked = ~np.isin(quality, [0, 4, 5, 6, 7])
    wide = [binary_dilation(one, disc(pixels)) for one in masked]
    return np.stack(wide) & (quality != 0)


# Dilation.


@pytest.mark.parametrize("pixels", [1, 2, 5])
def test_the_lazy_cube_is_dilated_as_the_whole_image_is(
    cube: Path, wide_blocks: Path, group: zarr.Group, pixels: int
) -> None:
    quality = group[f"{S2}/quality"][...]
    wanted = np.isin(quality, [4, 5, 6, 7]) & ~dilated(quality, pixels)
    for store in (cube, wide_blocks):
        opened = open_cube(store, masking=Masking(dilate=pixels))[S2]
        np.testing.assert_array_equal(opened["clear"].values, wanted)
        assert opened["clear"].chunks == opened["quality"].chunks
        seen = ~np.isnan(opened["data"].values).all(axis=1)
        np.testing.assert_array_equal(seen, wanted)
    assert 0 < wanted.sum() < np.isin(quality, [4, 5, 6, 7]).sum()


@pytest.mark.parametrize(("pixels", "side"), [(1, 16), (2, 13), (5, 13), (5, 40)])
def test_every_tiling_is_dilated_as_the_whole_image_is(
    group: zarr.Group, pixels: int, side: int
) -> None:
    quality = group[f"{S2}/quality"][...]
    masked = dilated(quality, pixels)
    parts = read(group, Masking(dilate=pixels), side)

    clear = image(lambda series: series.clear, parts)
    np.testing.assert_array_equal(clear, np.isin(quality, [4, 5, 6, 7]) & ~masked)
    distance = image(lambda series: series.distance, parts)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for date, mask in enumerate(masked):
        clouds = np.argwhere(mask)
        squares = (rows[..., None] - clouds[:, 0]) ** 2 + (columns[..., None] - clouds[:, 1]) ** 2
        nearest = np.minimum(np.sqrt(squares.min(axis=-1)), DISTANCE_CAP)
        np.testing.assert_allclose(distance[date], nearest, rtol=1e-6)


def test_dilation_reaches_over_the_whole_cube_if_need_be(cube: Path, group: zarr.Group) -> None:
    masking = Masking(dilate=SIDE + 8)
    cloudy = ~np.isin(group[f"{S2}/quality"][...], [0, 4, 5, 6, 7])
    assert cloudy.any(axis=(1, 2)).all()

    assert not image(lambda series: series.clear, read(group, masking, 16)).any()
    assert not open_cube(cube, masking=masking)[S2]["clear"].values.any()


def test_dilation_by_nothing_changes_nothing(cube: Path, group: zarr.Group) -> None:
    for of in (lambda series: series.clear, lambda series: series.distance):
        one, other = (image(of, read(group, masking)) for masking in (None, Masking(dilate=0)))
        np.testing.assert_array_equal(one, other)
    for name in (S2, S1):
        one, other = (
            open_cube(cube, masking=masking)[name] for masking in (None, Masking(dilate=0))
        )
        np.testing.assert_array_equal(one["data"].values, other["data"].values)
    assert settle(BANDS, Masking(dilate=0, outliers=False, rule="stored")) == AS_STORED


def test_more_dilation_clears_nothing(group: zarr.Group) -> None:
    clear = [image(lambda series: series.clear, read(group, Masking(dilate=n))) for n in range(7)]
    for less, more in pairwise(clear):
        assert not (more & ~less).any()
        assert (less & ~more).any()


def test_pixels_outside_the_swath_mask_nothing() -> None:
    quality = np.full((1, 20, 20), 4, dtype=np.uint8)
    quality[:, :, 12:] = 0
    rule, masking = ClearRule(codes=(4,)), Masking(dilate=5)

    clear, masked = clear_sky(quality, masking, rule, 0)

    np.testing.assert_array_equal(clear, quality == 4)
    assert not masked.any()
    quality[0, 10, 10] = 9
    clear, masked = clear_sky(quality, masking, rule, 0)
    assert masked[0, 10, 5]
    assert not masked[0, :, 12:].any()
    np.testing.assert_array_equal(clear, (quality == 4) & ~masked)


# Rules.


def test_a_rule_a_function_and_its_name_are_the_same(cube: Path, group: zarr.Group) -> None:
    masking = (ClearRule(codes=(4,)), clear_rules.vegetation, VEGETATION)
    wanted = group[f"{S2}/quality"][...] == 4
    for rule in masking:
        np.testing.assert_array_equal(
            open_cube(cube, masking=Masking(rule))[S2]["clear"].values, wanted
        )
        np.testing.assert_array_equal(
            image(lambda series: series.clear, read(group, Masking(rule))), wanted
        )
    assert Masking(clear_rules.vegetation) == Masking(VEGETATION)
    one, other = (Masking(rule, dilate=2) for rule in masking[1:])
    assert settle(BANDS, one) == settle(BANDS, {S2: other})


def test_a_function_without_a_name_opens_a_cube_and_makes_no_store(
    cube: Path, group: zarr.Group, model: Path, tmp_path: Path
) -> None:
    masking = Masking(lambda quality: quality == 4)
    wanted = group[f"{S2}/quality"][...] == 4

    np.testing.assert_array_equal(open_cube(cube, masking=masking)[S2]["clear"].values, wanted)
    for call in (partial(embed, cube, model), partial(train, cube)):
        with pytest.raises(InputError, match="cannot be found again by a name"):
            call(out=tmp_path / "out", masking=masking)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("masking", "words"),
    [
        (
            Masking(f"{RULES}:nothing"),
            "cannot be loaded .AttributeError: .*'nothing'",
        ),
        (Masking("nowhere:clear"), "cannot be loaded .ModuleNotFoundError: No module .*nowhere"),
        (Masking("clear"), "'clear' is no name of a function; give it as module:function"),
        (Masking(f"{RULES}:NUMBER"), "NUMBER is a int, not a function"),
        (Masking(f"{RULES}:confidence"), r"makes float32 \(1, 1, 1\) of a mask band"),
        ({"venus": Masking(dilate=1)}, "given for venus; there are sentinel-1-asc, sentinel-2"),
        ({S1: Masking(dilate=1)}, "sentinel-1-asc has no mask band; no rule and no dilation"),
        ({S1: Masking(VEGETATION)}, "sentinel-1-asc has no mask band; no rule and no dilation"),
    ],
)
def test_a_masking_that_cannot_be_is_refused_before_any_pixel_is_read(
    cube: Path, model: Path, tmp_path: Path, masking: MaskingRequest, words: str
) -> None:
    for call in (
        partial(open_cube, cube),
        lambda masking: plan_job(cube, model, DATES, Reading(masking)),
        partial(train, cube, tmp_path / "out"),
    ):
        with pytest.raises(InputError, match=words):
            call(masking=masking)


def test_a_dilation_is_a_count_of_pixels() -> None:
    for pixels in (-1, 101):
        with pytest.raises(InputError, match=f"dilate is {pixels} pixels; give 0 to 100"):
            Masking(dilate=pixels)


def test_one_rule_is_not_for_two_kinds_of_mask_bands() -> None:
    bands = {**BANDS, "landsat-c2-l2": "uint16"}
    with pytest.raises(InputError, match="mask bands of sentinel-2-l2a and landsat-c2-l2; name th"):
        settle(bands, Masking(VEGETATION))
    masks = settle(bands, {S2: Masking(VEGETATION), "*": Masking(dilate=2)})
    assert masks.of(S2) == Masking(VEGETATION, dilate=2)
    assert masks.of("landsat-c2-l2") == Masking(dilate=2)
    assert masks.of(S1) == Masking()


RULES = st.sampled_from([None, "stored", VEGETATION, ClearRule(codes=(4, 5)), ClearRule(at_most=0)])
MASKINGS = st.builds(
    Masking,
    rule=RULES,
    dilate=st.none() | st.integers(0, 100),
    outliers=st.none() | st.booleans(),
)


@settings(deadline=None)
@given(MASKINGS, MASKINGS)
def test_what_is_noted_is_what_was_settled_and_leaves_out_what_changes_nothing(
    masking: Masking, other: Masking
) -> None:
    masks = settle(BANDS, masking)
    stored = json.loads(json.dumps(masks.to_json()))
    again = Masks.of_model({"training": {"settings": {"masking": stored or None}}})

    assert again == masks
    assert Masking.from_json(json.loads(json.dumps(masking.to_json()))) == masking
    assert masking.over(masking) == masking
    assert masking.over(other).over(other) == masking.over(other)
    assert all(value for values in stored.values() for value in values.values())
    assert S1 not in stored


def test_what_is_typed_is_what_is_requested() -> None:
    typed = [f"{S2}={VEGETATION}", 'landsat-c2-l2={"no_bits": [3]}', "stored"]
    masking = parse_masking(2, True, typed)
    bands = {**BANDS, "landsat-c2-l2": "uint16", "other": "uint8"}

    masks = settle(bands, masking)

    assert masks.of(S2) == Masking(VEGETATION, 2, True)
    assert masks.of("landsat-c2-l2") == Masking(ClearRule(no_bits=(3,)), 2, True)
    assert masks.of("other") == Masking(None, 2, True)
    assert settle(bands, parse_masking(None, None, ())) == AS_STORED
    for rule, words in (
        ("SCL", "'SCL' is no clear-sky rule; give module:function, `stored`, or a rule as JSON"),
        ("{", "The clear-sky rule { cannot be used: Expecting"),
        ('{"codes": 4}', "lists of integers"),
        ('{"classes": [4]}', "no fields .*classes"),
    ):
        with pytest.raises(InputError, match=words):
            parse_masking(None, None, [rule])


def test_the_command_line_also_finds_functions_in_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_rules.py").write_text("def water(quality):\n    return quality == 6\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)

    masks = settle(BANDS, parse_masking(None, None, ["own_rules:water"]))

    assert masks.to_json() == {S2: {"rule": "own_rules:water"}}
    clear = masks.of(S2).clear(np.array([[[6, 4]]]), ClearRule(codes=(4,)))
    assert clear.tolist() == [[[True, False]]]


# One truth: the model's.


def test_a_model_is_used_with_the_masking_it_was_trained_with(
    cube: Path, model: Path, tmp_path: Path
) -> None:
    stored = {S2: {"rule": {"codes": [4, 5]}, "dilate": 3}}
    trained = noted(model, tmp_path / "model", stored)

    own = plan_job(cube, trained, DATES)
    other = plan_job(cube, trained, DATES, Reading(Masking(dilate=1)))
    bare = plan_job(cube, trained, DATES, Reading(Masking("stored", dilate=0)))

    assert own.identity()["masking"] == own.attributes()["masking"] == stored
    assert other.identity()["masking"] == {S2: {"rule": {"codes": [4, 5]}, "dilate": 1}}
    assert bare.identity() == plan_job(cube, model, DATES).identity()
    assert "masking" not in bare.identity()
    block = blocks((SIDE, SIDE), 16)[4]
    masks = Masks(((S2, Masking(ClearRule(codes=(4, 5)), 3)),))
    wanted = read_series(Store.of(cube).group(), [S1, S2], block.y, block.x, masks)
    np.testing.assert_array_equal(own.read(block).by_sensor[S2].clear, wanted.by_sensor[S2].clear)
    np.testing.assert_array_equal(
        own.read(block).by_sensor[S2].distance, wanted.by_sensor[S2].distance
    )


def test_a_model_runs_no_code_that_is_not_asked_for(
    cube: Path, model: Path, tmp_path: Path
) -> None:
    trained = noted(model, tmp_path / "model", {S2: {"rule": VEGETATION, "dilate": 2}})
    with pytest.raises(InputError, match="does not run code by itself: give that rule as well, or"):
        plan_job(cube, trained, DATES)

    agreed = plan_job(cube, trained, DATES, Reading(Masking(VEGETATION)))
    assert agreed.identity()["masking"] == {S2: {"rule": VEGETATION, "dilate": 2}}
    refused = plan_job(cube, trained, DATES, Reading(Masking("stored")))
    assert refused.identity()["masking"] == {S2: {"dilate": 2}}


def test_an_extension_keeps_the_masking_of_what_it_extends() -> None:
    before, bands = Masks(((S2, Masking(dilate=2)),)), {**BANDS, "landsat-c2-l2": "uint16"}
    fixed = {S2, S1}

    assert settle(bands, None, before, fixed) == before
    more = settle(bands, Masking(dilate=5), before, fixed)
    assert (more.of(S2), more.of("landsat-c2-l2")) == (Masking(dilate=2), Masking(dilate=5))
    with pytest.raises(InputError, match=r"'dilate': 2}, which an extension keeps; {'dilate': 3}"):
        settle(bands, {S2: Masking(dilate=3)}, before, fixed)
    named = Masks(((S2, Masking(VEGETATION)),))
    assert settle(bands, {S2: Masking(VEGETATION)}, named, fixed) == named


@pytest.fixture
def _rough(monkeypatch: pytest.MonkeyPatch) -> None:
    make_rough(monkeypatch.setattr)


@pytest.mark.usefixtures("_rough")
def test_a_training_notes_its_masking_and_goes_on_with_no_other(
    bright: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "terralatent")
    how: dict[str, Any] = {"latents": 2, "steps": 0, "calibrated": False, "device": "cpu"}
    masking = Masking(ClearRule(codes=(4, 9)), dilate=0, outliers=True)
    out, stored = tmp_path / "model", {S2: {"rule": {"codes": [4, 9]}, "outliers": True}}

    train(bright, out, masking=masking, **how)

    assert read_manifest(out)["training"]["settings"]["masking"] == stored
    assert "% of the observations of sentinel-2-l2a are outliers, masked" in caplog.text
    assert train(bright, out, masking=masking, **how).repeated
    for other in (None, Masking(dilate=1)):
        with pytest.raises(InputError, match=r"holds another training: masking is .*codes.* there"):
            train(bright, out, masking=other, **how)
    assert plan_job(bright, out, "2018-03-01").identity()["masking"] == stored


def test_a_training_from_before_there_was_a_choice_goes_on_without(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "settings.json").write_text('{"seed": 0}')
    now = {**EARLIER, "seed": 0}

    with TrainingFolder(tmp_path).claim({**now, "masking": None}):
        pass
    stored = {S2: {"dilate": 1}}
    words = r'masking is null there, {"sentinel-2-l2a": {"dilate": 1}} here'
    with (
        pytest.raises(InputError, match=words),
        TrainingFolder(tmp_path).claim({**now, "masking": stored}),
    ):
        pass


# Latents.


def test_another_masking_is_refused_by_its_name(
    cube: Path, model: Path, workers: Client, tmp_path: Path
) -> None:
    out = tmp_path / "latents"
    embed(cube, model, out, dates=DATES, masking=Masking(dilate=1), client=workers)

    assert json.loads(open_latents(out).attrs["masking"]) == {S2: {"dilate": 1}}
    again = embed(cube, model, out, dates=DATES, masking=Masking(dilate=1), client="tcp://no:1")
    assert again.computed == 0
    for other, words in (
        (None, r"masking.* there, absent here"),
        (Masking(dilate=2), r"masking\.sentinel-2-l2a\.dilate is 1 there, 2 here"),
        (Masking(VEGETATION, 1), r"masking\.sentinel-2-l2a\.rule is absent there, \"tests"),
    ):
        with pytest.raises(InputError, match=words):
            embed(cube, model, out, dates=DATES, masking=other, client=workers)


@pytest.mark.soak
def test_what_is_masked_by_dilation_changes_nothing_in_latents_and_fields(
    made_up: Scenes, workers: Client, tmp_path: Path
) -> None:
    masking, latents, means = Masking(dilate=2), [], []
    for place in ("one", "other"):
        cube = tmp_path / place
        build_cube(made_up, region(), cube, block=64, client=workers)
        if place == "other":
            session = Store.of(cube).repository().writable_session("main")
            group: Any = zarr.open_group(session.store)[S2]
            data, wide = group["data"][...], dilated(group["quality"][...], 2)
            seen = wide & np.isin(group["quality"][...], [4, 5, 6, 7])
            assert seen.any()
            changed = np.where(seen[:, None] & (data != 0), np.uint16(60_000), data)
            group["data"][...] = changed
            session.commit("something else below the clouds")
        else:
            model = made_up_model(cube, tmp_path / "model")
            made = load_model(model)
            config = made.config.model_copy(update={"scene_errors": True})
            save_model(GPVAE(config, seed=0), model, {})
        out = tmp_path / f"{place}-latents"
        embed(cube, model, out, dates=DATES, precision="float32", masking=masking, client=workers)
        latents.append(open_latents(out))
        labels = np.ones((SIDE, SIDE), dtype=int)
        means.append(
            field_means(cube, model, S2, DATES, labels, masking=masking, draws=2, most_pixels=2)
        )
    for name in ("mean", "std", "observations"):
        np.testing.assert_array_equal(latents[0][name].values, latents[1][name].values)
    np.testing.assert_array_equal(means[0]["mean"].values, means[1]["mean"].values)
    assert means[0].attrs["masking"] == {S2: {"dilate": 2}}


def test_outliers_are_the_same_in_every_tiling_and_counted_in_the_store(
    bright: Path, workers: Client, tmp_path: Path
) -> None:
    # Clouds pass for clear: bright dates that no neighbour is like.
    masking = Masking(ANYTHING, outliers=True)
    group = Store.of(bright).group()
    cloudy = group[f"{S2}/quality"][...] == 9
    opened = open_cube(bright, masking=masking)[S2]
    outlier = opened["outlier"].values
    seen = ~np.isnan(open_cube(bright, clear=False)[S2]["data"].values).all(axis=1)

    for side in (5, 12):
        clear = image(lambda series: series.clear, read(group, masking, side))
        np.testing.assert_array_equal(clear, ~outlier)
    np.testing.assert_array_equal(opened["clear"].values, ~outlier)
    masked = np.isnan(opened["data"].values).all(axis=1)
    np.testing.assert_array_equal(masked, outlier | ~seen)
    assert opened["outlier"].chunks == opened["clear"].chunks
    assert (outlier & cloudy).sum() > 0.8 * outlier.sum() > 50

    model = made_up_model(bright, tmp_path / "model")
    report = embed(bright, model, tmp_path / "out", dates=DATES, masking=masking, client=workers)
    share = outlier.sum() / seen.sum()
    assert math.isclose(report.outliers[S2], share)
    assert f"{share:.2%} of sentinel-2-l2a's observations taken as outliers" in str(report)
    attrs = open_latents(tmp_path / "out").attrs
    assert json.loads(attrs["outliers"]) == {S2: [int(outlier.sum()), int(seen.sum())]}
    again = embed(
        bright, model, tmp_path / "out", dates=DATES, masking=masking, client="tcp://no:1"
    )
    assert again.outliers == report.outliers

    labels = np.zeros(outlier.shape[1:], dtype=int)
    labels[3:9, 5:] = 1
    means = field_means(bright, model, S2, DATES, labels, masking=masking, draws=1, most_pixels=2)
    counts = [int(of[:, 3:9, 5:].sum()) for of in (outlier, seen)]
    assert means.attrs["outliers"] == {S2: counts}


def test_radar_is_searched_for_outliers_where_it_is_named(bright: Path) -> None:
    masking = {S1: Masking(outliers=True)}
    opened = open_cube(bright, masking=masking)[S1]
    assert settle(BANDS, Masking(outliers=True)).of(S1) == Masking()
    ((block, series),) = read(Store.of(bright).group(), masking, 12)

    valid = series.series()[S1].valid.numpy().transpose(1, 2, 0)
    data = opened["data"].values
    np.testing.assert_array_equal(valid.reshape(data.shape), ~np.isnan(data))
    assert series.outliers() == {S1: (int(opened["outlier"].sum()), 30 * 12 * 11)}
    assert block.shape == (12, 12)


def clear_observations(cube: Path, masks: Masks) -> list[int]:
    """How many clear observations Sentinel-2 has of each pixel; runs in another process."""
    series = read_series(Store.of(cube).group(), [S2], slice(0, SIDE), slice(0, SIDE), masks)
    return series.by_sensor[S2].clear.sum(axis=1).tolist()


def test_a_function_by_its_name_works_in_other_processes(
    cube: Path, launcher: Launcher, tmp_path: Path
) -> None:
    masks = settle(BANDS, Masking(clear_rules.vegetation, dilate=1))
    assert VEGETATION in str(masks)

    with cluster_in(launcher, tmp_path / "cluster") as other, Client(other.address) as process:
        counts = process.submit(clear_observations, cube, masks, pure=False).result(WITHIN_S)

    wanted = clear_observations(cube, Masks(((S2, Masking(ClearRule(codes=(4,)), dilate=1)),)))
    assert counts == wanted
    assert sum(wanted) > 0
