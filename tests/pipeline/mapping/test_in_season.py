"""The law of what is known in season: by a day, a cube is the cube of what was there by then."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.simulation.simulate import simulate
from terralatent.models.annual import AnnualMap
from terralatent.models.checkpoint import load_model, save_model
from terralatent.models.gpvae import GPVAE
from terralatent.pipeline import Masking, Until, annual, decode, embed, open_cube, open_latents
from terralatent.pipeline.cli.groups import Inference
from terralatent.pipeline.cli.in_season import InSeason
from terralatent.pipeline.cube.losses import PARTIAL
from terralatent.pipeline.cube.reading import Reading
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.mapping.results.origin import CubeOrigin
from terralatent.pipeline.mapping.scene_errors import kept_scene_errors
from terralatent.pipeline.publication.lineage import find_lineage
from terralatent.pipeline.store.repository import BRANCH, Store
from tests.commands.contents import contents, same
from tests.commands.mishaps import Mishap
from tests.commands.plans import FilledStore, Plan
from tests.made.catalogue import add_sentinel_1, add_sentinel_2, optical, region
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube

S2, S1 = "sentinel-2-l2a", "sentinel-1-asc"
UNTIL = "2018-05-01"
END = datetime.fromisoformat("2018-05-02T00:00:00Z")
DATES = "2018-04-02,2018-05-01,2018-06-15"
"""The last lies after what was there: a forecast."""

STATED: Mapping[int, dict[str, str]] = {
    2: {"created": "2018-05-08T00:00:00Z"},  # 27 days late: the dates are no prefix
    3: {},  # says nothing
    4: {"created": "2023-06-01T00:00:00Z"},  # an archive taken up anew
    5: {"created": "2018-04-26T10:50:00Z"},  # the time of sensing itself: said of every file
    6: {"published": "2018-05-20T00:00:00Z", "created": "2018-05-01T12:00:00Z"},
}
"""What items of Sentinel-2 say of themselves, others that they came six hours after."""


def at(time: str) -> datetime:
    return datetime.fromisoformat(time)


def came(item: Mapping[str, Any], delay: float = 1.0) -> datetime:
    """When an item was there: the rule, written on STAC alone."""
    own = item["properties"]
    sensed = at(own["datetime"])
    stated = own.get("published") or own.get("created")
    if stated and timedelta(0) < at(stated) - sensed <= timedelta(days=30):
        return at(stated)
    return sensed + timedelta(days=delay)


def there_by(scenes: Scenes, end: datetime = END, delay: float = 1.0) -> Scenes:
    """A search that finds the acquisitions alone all of whose items were there."""
    kept = [
        item
        for name in scenes.sensors
        for acquisition in scenes.acquisitions(name)
        if max(came(item, delay) for item in acquisition.items) < end
        for item in acquisition.items
    ]
    return Scenes.gather(
        kept, scenes.wanted, source=scenes.place, period=scenes.period, access=scenes.access
    )


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """Ten acquisitions of Sentinel-2 from April on, the eighth in two parts, and six of radar."""
    folder = tmp_path_factory.mktemp("catalogue")
    rng = np.random.default_rng(3)
    first = datetime.fromisoformat("2018-04-01T10:50:00")
    for number in range(10):
        time = first + timedelta(days=5 * number)
        if number == 1:
            add_sentinel_2(folder, f"{time.isoformat()}Z", optical(rng, 24), name="left")
            late = f"{(time + timedelta(seconds=20)).isoformat()}Z"
            add_sentinel_2(folder, late, optical(rng, 24), name="right", first_column=16)
        else:
            add_sentinel_2(folder, f"{time.isoformat()}Z", optical(rng), name=f"S2_{number}")
    for number in range(6):
        power = {band: rng.gamma(2.0, 0.05, (20, 20)).astype("float32") for band in ("vv", "vh")}
        day = first + timedelta(days=6 * number)
        add_sentinel_1(folder, f"{day.isoformat()}Z", power, name=f"S1_{number}")
    for file in folder.rglob("*.json"):
        item = json.loads(file.read_text())
        own, name = item.get("properties", {}), str(item.get("id"))
        if item.get("collection") == S2:
            soon = (at(own["datetime"]) + timedelta(hours=6)).isoformat()
            own.pop("created", None)
            # One half of a date comes in time, the other one late.
            late = {"left": soon, "right": "2018-05-04T00:00:00Z"}
            number = -1 if name in late else int(name[-1])
            own |= STATED.get(number, {"created": late.get(name, soon)})
            file.write_text(json.dumps(item))
    return search_scenes(folder, region(), "2018-01-01", "2018-12-31")


@pytest.fixture(scope="module")
def cubes(
    scenes: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """That of all scenes, and that of those that were there; not to be changed."""
    folder = tmp_path_factory.mktemp("cubes")
    for name, own in (("all", scenes), ("there", there_by(scenes))):
        build_cube(own, region(), folder / name, block=16, client=workers)
    return {name: folder / name for name in ("all", "there")}


@pytest.fixture(scope="module")
def model(cubes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made_up_model(cubes["all"], tmp_path_factory.mktemp("model"))
    weights = 0.05 * torch.randn(3, 12, 4, generator=torch.Generator().manual_seed(0))
    AnnualMap(weights, torch.zeros(3), torch.ones(3)).save(folder)
    return folder


def arrays(store: Path) -> dict[str, np.ndarray[Any, Any]]:
    root = Store.of(store).group()
    return {name: np.asarray(array[...]) for name, array in root.arrays()}


def alike(one: Path, other: Path) -> None:
    """Check that two results have the same arrays, bit for bit."""
    first, second = arrays(one), arrays(other)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name, strict=True)
    assert len(np.unique(first["mean"])) > 100


def test_which_dates_were_there(cubes: dict[str, Path], model: Path) -> None:
    job = plan_job(cubes["all"], model, DATES, Reading(until=UNTIL))
    kept = plan_job(cubes["there"], model, DATES)
    assert sorted(job.acquisitions) == sorted(kept.acquisitions)
    # 04-01, 04-16, 04-21 and 04-26, of which 04-16 and 04-21 by the delay; then radar's.
    assert np.asarray(job.places[S2]).tolist() == [0, 3, 4, 5]
    assert job.places[S1] == slice(0, 5)
    assert job.series_bytes == kept.series_bytes


@pytest.mark.parametrize(
    "masking",
    [
        pytest.param(None, id="as trained"),
        pytest.param(Masking(dilate=2, outliers=True), id="outliers", marks=pytest.mark.soak),
    ],
)
def test_latents_are_those_of_a_cube_of_what_was_there(
    masking: Masking | None, cubes: dict[str, Path], model: Path, workers: Client, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"dates": DATES, "masking": masking, "client": workers}
    embed(cubes["all"], model, tmp_path / "until", until=UNTIL, **how)
    embed(cubes["there"], model, tmp_path / "there", **how)
    alike(tmp_path / "until", tmp_path / "there")

    embed(cubes["all"], model, tmp_path / "all", **how)
    counts = [open_latents(tmp_path / name)["observations"].values for name in ("until", "all")]
    assert (counts[0] <= counts[1]).all()
    assert (counts[0] < counts[1]).any()
    std = open_latents(tmp_path / "until")["std"].mean(("latent", "y", "x")).values
    assert std[2] > std[1], "a forecast knows less"


def test_bands_and_years_are_those_of_a_cube_of_what_was_there(
    cubes: dict[str, Path], model: Path, workers: Client, tmp_path: Path
) -> None:
    for name, until in (("all", UNTIL), ("there", None)):
        decode(
            cubes[name], model, S2, DATES, tmp_path / f"bands-{name}", until=until, client=workers
        )
        annual(
            cubes[name], model, tmp_path / f"year-{name}", window="2018", components=3,
            until=until, client=workers,
        )  # fmt: skip
    for kind in ("bands", "year"):
        there = arrays(tmp_path / f"{kind}-there")
        for array, values in arrays(tmp_path / f"{kind}-all").items():
            if array != "cube_snapshot":  # of two cubes
                np.testing.assert_array_equal(values, there[array], err_msg=array, strict=True)


@pytest.mark.soak
def test_lazily_and_of_a_part_it_is_the_same(
    cubes: dict[str, Path], model: Path, workers: Client, tmp_path: Path
) -> None:
    embed(cubes["there"], model, tmp_path / "there", dates=DATES, client=workers,
          precision="float32")  # fmt: skip
    wanted = open_latents(tmp_path / "there").isel(y=slice(10, 30), x=slice(5, 25)).load()
    part = open_cube(cubes["all"]).isel(y=slice(10, 30), x=slice(5, 25))
    found = embed(part, model, dates=DATES, until=UNTIL).load()
    # Batches of other pixels round otherwise.
    np.testing.assert_allclose(found["mean"], wanted["mean"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found["observations"], wanted["observations"])


def test_an_own_delay_counts_where_items_do_not_say(
    scenes: Scenes, cubes: dict[str, Path], model: Path, workers: Client, tmp_path: Path
) -> None:
    slow = there_by(scenes, delay=12.0)
    build_cube(slow, region(), tmp_path / "slow", block=16, client=workers)
    until = Until(UNTIL, {S2: 12, S1: 12.0})
    job = plan_job(cubes["all"], model, "acquisitions", Reading(until=until))
    kept = plan_job(tmp_path / "slow", model, "acquisitions")
    assert job.times == kept.times
    assert len(job.times) < len(plan_job(cubes["there"], model, "acquisitions").times)


def test_a_sensor_of_which_nothing_was_there_is_not_read(
    cubes: dict[str, Path], model: Path
) -> None:
    until = Until("2018-04-02", {S1: 100})
    job = plan_job(cubes["all"], model, DATES, Reading(until=until))
    assert job.sensors == (S2,)
    assert job.attributes()["delays"] == {S2: 1.0}


@pytest.mark.soak
def test_scene_errors_are_those_of_what_was_there(
    cubes: dict[str, Path], model: Path, workers: Client, tmp_path: Path
) -> None:
    loaded = load_model(model)
    corrects = loaded.config.model_copy(update={"scene_errors": True})
    own = GPVAE(corrects)
    own.load_state_dict(loaded.state_dict())
    save_model(own, tmp_path / "model", {})
    for name, until in (("all", UNTIL), ("there", None)):
        embed(
            cubes[name], tmp_path / "model", tmp_path / name, dates=DATES, until=until,
            client=workers,
        )  # fmt: skip
    alike(tmp_path / "all", tmp_path / "there")
    kept = [kept_scene_errors(Store.of(tmp_path / name).group()) for name in ("all", "there")]
    assert kept[0] is not None
    assert kept[1] is not None
    for sensor, offsets in kept[1].offsets.items():
        np.testing.assert_array_equal(kept[0].offsets[sensor], offsets)


@pytest.mark.soak  # `embed` is killed in every run, by the same code
def test_a_killed_run_goes_on_to_the_same_bytes(
    cubes: dict[str, Path],
    model: Path,
    workers: Client,
    filling: Callable[[Plan], FilledStore],
    tmp_path: Path,
) -> None:
    embed(cubes["all"], model, tmp_path / "whole", dates=DATES, until=UNTIL, client=workers)
    command = ("embed", str(cubes["all"]), str(model), "--dates", DATES, "--until", UNTIL, "--out")
    store = filling(Plan(command, contents(tmp_path / "whole"), 9))
    killed = store.run(mishap=Mishap("before commit", "kill", nth=2))
    assert killed.code == -signal.SIGKILL, killed.output
    ended = store.run()
    assert ended.code == 0, ended.output
    assert store.is_whole()
    same(contents(store.path), contents(tmp_path / "whole"))


def test_a_result_says_until_when_and_takes_no_other(
    cubes: dict[str, Path], model: Path, workers: Client, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    how: dict[str, Any] = {"dates": DATES, "client": workers}
    embed(cubes["all"], model, out, until=UNTIL, **how)
    attrs = Store.of(out).group().attrs
    assert (attrs["until"], attrs["delays"]) == (UNTIL, {S1: 1.0, S2: 1.0})
    for other, words in (
        ("2018-05-02", "until"),
        (Until(UNTIL, {S2: 2}), "delays"),
        (None, "until"),
    ):
        with pytest.raises(InputError, match=words):
            embed(cubes["all"], model, out, until=other, **how)
    assert embed(cubes["all"], model, out, until=np.datetime64(UNTIL), **how).computed == 0
    whole = plan_job(cubes["all"], model, DATES)
    assert not {"until", "delays"} & {*whole.identity(), *whole.attributes()}


def test_what_failed_later_does_not_count(tmp_path: Path) -> None:
    cube = tiny_cube(tmp_path / "cube", side=8, block=4)
    model = made_up_model(cube, tmp_path / "model")
    session = Store.of(cube).repository().writable_session(BRANCH)
    root: Any = zarr.open_group(session.store, mode="r+")
    root[S2]["state"][1, 0, 1] = PARTIAL  # of the 17th date on, in February
    session.commit("a scene failed")
    for until, lost in (("2018-01-20", 0), ("2018-02-20", 1), (None, 1)):
        job = plan_job(cube, model, "2017-12-15", Reading(until=until))
        assert CubeOrigin(job).unfinished().sum() == lost


@pytest.mark.parametrize(
    ("until", "words"),
    [
        ("June", r"'June' \(until=\) is no date; give one such as 2018-06-01"),
        ("2018-03-31", r"Nothing of the cube was there by 2018-03-31T23:59; the first, of "
                       r"sentinel-2-l2a, was there on 2018-04-01T16:50"),
        (Until(UNTIL, {"drone": 1}), "A delay is stated for drone, but what is read of the cube"),
        (Until(UNTIL, {S2: -1}), "The delay -1 of sentinel-2-l2a is no number of days"),
        (Until(UNTIL, {S2: float("nan")}), "The delay nan of sentinel-2-l2a is no number of days"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(
    until: Any, words: str, cubes: dict[str, Path], model: Path
) -> None:
    with pytest.raises(InputError, match=words):
        embed(cubes["all"], model, dates=DATES, until=until)


def test_datasets_and_tables_have_no_items(cubes: dict[str, Path], model: Path) -> None:
    tree = open_cube(cubes["all"])
    some = {S2: tree[S2].to_dataset().isel(time=slice(1, None))}
    with pytest.raises(InputError, match="until= is of a cube that is read from its store"):
        embed(some, model, dates=DATES, until=UNTIL)
    with pytest.raises(InputError, match="leave masking, at and until out"):
        embed("series.parquet", model, "out.parquet", until=UNTIL)


@pytest.mark.soak
def test_a_cube_of_an_older_version_goes_by_the_delay(
    scenes: Scenes, model: Path, workers: Client, tmp_path: Path
) -> None:
    build_cube(scenes, region(), tmp_path / "cube", block=16, client=workers)
    session = Store.of(tmp_path / "cube").repository().writable_session(BRANCH)
    root: Any = zarr.open_group(session.store, mode="r+")
    del root["items"]["available"]
    for name in (S1, S2):
        del root[name].attrs["delay"]
    session.commit("as an older version left it")
    job = plan_job(tmp_path / "cube", model, DATES, Reading(until=UNTIL))
    assert [job.places[name] for name in (S1, S2)] == [slice(0, 5), slice(0, 6)]
    assert build_cube(scenes, region(), tmp_path / "cube", block=16, client=workers).new == 0
    embed(tmp_path / "cube", model, tmp_path / "out", dates=DATES, until=UNTIL, client=workers)


def test_scenes_that_came_later_are_no_sources_of_a_result(
    cubes: dict[str, Path], model: Path, workers: Client, tmp_path: Path
) -> None:
    for name, until in (("all", UNTIL), ("there", None)):
        embed(cubes[name], model, tmp_path / name, dates=DATES, until=until, client=workers)
    stores = [Store.of(tmp_path / name) for name in ("all", "there")]
    found = [find_lineage(store, store.snapshot()).inputs() for store in stores]
    assert set(found[0]) == set(found[1])
    assert len(found[0]) == 9


@pytest.mark.parametrize(
    ("season", "how", "words"),
    [
        (InSeason(None, [f"{S2}=2"]), Inference(), "A delay says what was there by a day"),
        (InSeason(UNTIL, ["2"]), Inference(), "The delay '2' cannot be used; give a sensor"),
        (InSeason(UNTIL), Inference(calibrate=True), "calibrate= fits the model to all that"),
    ],
)
def test_options_that_do_not_go_together(season: InSeason, how: Inference, words: str) -> None:
    with pytest.raises(InputError, match=words):
        season.keywords(how)


def test_options_are_what_python_takes() -> None:
    assert InSeason().keywords(Inference(calibrate=True)) == {}
    assert InSeason(UNTIL).keywords(Inference()) == {"until": UNTIL}
    (until,) = InSeason(UNTIL, [f"{S2}=2.5"]).keywords(Inference()).values()
    assert until == Until(UNTIL, {S2: 2.5})


@pytest.mark.soak
def test_of_a_simulated_region_the_shipped_model_knows_what_was_there(
    workers: Client, tmp_path: Path
) -> None:
    simulate(tmp_path / "scenes", size=32, seed=5)
    outline = tmp_path / "scenes" / "region.geojson"
    found = search_scenes(tmp_path / "scenes", outline, "2018-01-01", "2018-12-31")
    for number, item in enumerate(found.items):
        sensed = at(item["properties"]["datetime"])
        hours = (6, 30, 24 * 20, 24 * 40)[number % 4]
        if number % 5:
            item["properties"]["created"] = (sensed + timedelta(hours=hours)).isoformat()
    end = datetime.fromisoformat("2018-06-02T00:00:00Z")
    for name, own in (("all", found), ("there", there_by(found, end))):
        build_cube(own, outline, tmp_path / name, block=16, client=workers)
    dates = "2018-02-15,2018-05-15,2018-06-01,2018-08-15"
    for name, until in (("all", "2018-06-01"), ("there", None)):
        cube, masking = tmp_path / name, Masking(outliers=True)
        more: dict[str, Any] = {"until": until, "masking": masking, "client": workers}
        embed(cube, None, tmp_path / f"latents-{name}", dates=dates, **more)
        decode(cube, None, S2, dates, tmp_path / f"bands-{name}", **more)
    for kind in ("latents", "bands"):
        alike(tmp_path / f"{kind}-all", tmp_path / f"{kind}-there")
