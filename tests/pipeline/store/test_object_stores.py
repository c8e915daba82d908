"""Stores in an object store, a real server and real workers: what a folder would hold, or a line.

The server is moto, see ``tests.servers.s3``; it checks the keys of every request.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import obstore
import psutil
import pytest
import xarray as xr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.fields.means import field_means
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.mapping.decode import decode
from terralatent.pipeline.mapping.embed import embed
from terralatent.pipeline.mapping.opened import open_bands, open_latents
from terralatent.pipeline.store import location
from terralatent.pipeline.store.arrays import GroupLayout, Layout
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.history import expire, history
from terralatent.pipeline.store.location import Place, reach
from terralatent.pipeline.store.lock import lease
from terralatent.pipeline.store.lock.writer import read_run
from terralatent.pipeline.store.repository import Store
from tests.commands.contents import contents, same
from tests.commands.mishaps import Mishap, second
from tests.commands.plans import DATES, WHERE, Plan, computed
from tests.commands.processes import Ended, Launcher
from tests.commands.trainings import Training
from tests.made.catalogue import region
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube
from tests.pipeline.interruptions.test_kills import without_first
from tests.servers.s3 import BUCKET, S3Server, serving_s3
from tests.waiting import until

SENSOR = "sentinel-2-l2a"
CUBE, LATENTS, BANDS = (f"s3://{BUCKET}/made/{name}" for name in ("cube", "latents", "bands"))


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """The server, which this process finds by its environment as a command does."""
    with serving_s3() as started, pytest.MonkeyPatch.context() as patch:
        for name, value in started.environment().items():
            if value:
                patch.setenv(name, value)
            else:
                patch.delenv(name, raising=False)
        started.check_keys(True)
        yield started


Run = Callable[..., Ended]


@pytest.fixture
def run(server: S3Server, launcher: Launcher) -> Run:
    """Runs a command that finds the server, and checks that it shows no secret."""

    def run(*arguments: str | Path, variables: dict[str, str] | None = None, **options: object):
        ended = launcher.run(
            *arguments, variables=server.environment(**(variables or {})), **options
        )
        assert server.secret not in ended.output
        assert server.key not in ended.output
        return ended

    return run


@pytest.fixture(scope="module")
def scenes(made_up: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a search of the tiny catalogue found."""
    path = tmp_path_factory.mktemp("found") / "scenes.parquet"
    made_up.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def cube(made_up: Scenes, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four blocks of the tiny catalogue in a folder; not to be changed."""
    path = tmp_path_factory.mktemp("cube") / "cube"
    build_cube(made_up, region(), path, block=32, client=workers)
    return path


@pytest.fixture(scope="module")
def remote(server: S3Server, launcher: Launcher, scenes: Path) -> str:
    """It built by the command line where the server is."""
    ended = launcher.run(
        "build", "--scenes", scenes, *WHERE, "--block", "32", "--out", CUBE,
        variables=server.environment(),
    )  # fmt: skip
    assert ended.code == 0, ended.output
    return CUBE


@pytest.fixture(scope="module")
def model(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_model(cube, tmp_path_factory.mktemp("model") / "model")


def refusal(ended: Ended) -> str:
    """The line in which a command that ended with 2 says why."""
    assert ended.code == 2, ended.output
    *before, last = ended.output.strip().splitlines()
    assert last.startswith("error: "), ended.output
    assert not any("rror" in line or "Traceback" in line for line in before), ended.output
    return last


def equal(result: xr.Dataset, other: xr.Dataset) -> None:
    """Check that two results hold the same; their attributes say where the cube lay."""
    xr.testing.assert_equal(result.load(), other.load())


def test_a_cube_is_the_one_that_a_folder_would_hold(
    remote: str, cube: Path, run: Run, server: S3Server, scenes: Path
) -> None:
    same(contents(remote), contents(cube))
    for name, node in open_cube(cube).children.items():
        xr.testing.assert_identical(open_cube(remote)[name].dataset.load(), node.dataset.load())
    before = server.objects()

    again = run("build", "--scenes", scenes, *WHERE, "--block", "32", "--out", remote)
    other = run("build", "--scenes", scenes, *WHERE, "--block", "16", "--out", remote)

    assert again.code == 0
    assert computed(again) == 0
    assert "block is 32 there, 16 here" in refusal(other)
    assert server.objects() == before
    assert not [key for key in before if key.endswith(".lock")]


def test_a_cube_grows_there_and_lets_go_of_what_is_old(
    server: S3Server, radar: Scenes, workers: Client, tmp_path: Path
) -> None:
    there = f"s3://{BUCKET}/grown/cube"
    for out in (there, tmp_path / "cube"):
        for scenes in (without_first(radar), radar):
            build_cube(scenes, region(), out, block=64, client=workers)
    same(contents(there), contents(tmp_path / "cube"))
    assert [state.message for state in history(there)] == [
        "grow to 2018-05-31", "build", "lay out the cube",
    ]  # fmt: skip
    before = len(server.objects())

    assert len(expire(there, timedelta(0)).dropped) == 2

    assert len(server.objects()) < before
    same(contents(there), contents(tmp_path / "cube"))


@pytest.mark.soak
def test_results_are_those_that_folders_would_hold(
    remote: str, cube: Path, model: Path, run: Run, workers: Client, tmp_path: Path
) -> None:
    embed(cube, model, tmp_path / "latents", dates=DATES, client=workers)
    decode(cube, model, SENSOR, DATES, tmp_path / "bands", client=workers)

    into = ("--dates", DATES, "--out")
    embedded = run("embed", remote, model, *into, LATENTS)
    decoded = run("decode", remote, model, "--sensor", SENSOR, *into, BANDS)

    assert (embedded.code, decoded.code) == (0, 0), embedded.output + decoded.output
    equal(open_latents(LATENTS), open_latents(tmp_path / "latents"))
    equal(open_bands(BANDS), open_bands(tmp_path / "bands"))
    assert open_latents(LATENTS).attrs["cube_snapshot"] == Store.of(remote).snapshot()

    # What reads stores reads these.
    assert run("show", BANDS, "--out", tmp_path / "picture.png").code == 0
    assert run("export", LATENTS, "--out", tmp_path / "latents.zarr").code == 0
    equal(open_latents(tmp_path / "latents.zarr"), open_latents(LATENTS))
    for store in (remote, LATENTS):
        stored = json.loads(run("status", store, "--json").output)
        assert (stored["store"], stored["format"], stored["run"]) == (store, "icechunk", None)
        assert (stored["bytes"], stored["commits"]) == (None, None)
    page = run("status", BANDS)
    assert page.code == 0
    assert BANDS in page.output
    assert "None" not in page.output
    labels = np.zeros((40, 40), dtype=np.int64)
    labels[3:9, 10:20] = 1
    fields = [field_means(c, model, SENSOR, DATES, labels, draws=4) for c in (remote, cube)]
    xr.testing.assert_equal(*fields)


@pytest.mark.soak
def test_a_model_is_the_one_of_a_local_cube(
    server: S3Server, run: Run, trained: Training, launcher: Launcher, tmp_path: Path
) -> None:
    url = f"s3://{BUCKET}/tiny"
    tiny_cube(url, side=16, block=8)  # type: ignore[arg-type]

    class Remote:
        run = staticmethod(run)

        @staticmethod
        def start(*arguments, **options):
            return launcher.start(*arguments, variables=server.environment(), **options)

    training = Training(url, Remote, tmp_path)

    ended = training.run()

    assert ended.code == 0, ended.output
    weights = [(each.out / "weights.safetensors").read_bytes() for each in (training, trained)]
    assert weights[0] == weights[1]
    refused = run("train", url, "--latents", "3", "--out", f"s3://{BUCKET}/model")
    assert "a model is a local folder" in refusal(refused)


@pytest.mark.soak
def test_a_second_build_is_refused_and_a_killed_one_is_gone_on_with_at_once(
    radar_plan: Plan, run: Run, server: S3Server, tmp_path: Path
) -> None:
    store = f"s3://{BUCKET}/killed/cube"
    mishaps = (
        Mishap("before commit", "second", nth=2),
        Mishap("written", "kill", nth=4, after=("after commit", 2)),
    )

    killed = run(*radar_plan.command, store, mishaps=mishaps, folder=tmp_path / "1")

    assert killed.code == -signal.SIGKILL, killed.output
    code, output = second(tmp_path / "1")
    assert code == 2
    assert f"error: {store} is being written by process " in output
    assert "Traceback" not in output
    left = read_run(Place.of(store))
    assert left is not None
    assert (left.going, left.stage, left.total, left.ended) == (False, "build", 9, None)
    assert "go on with: " in run("status", store).output

    lost = (Mishap("written", "die"),)
    ended = run(*radar_plan.command, store, mishaps=lost, folder=tmp_path / "2")

    assert (ended.code, computed(ended)) == (0, 7), ended.output
    same(contents(store), radar_plan.whole)
    assert read_run(Place.of(store)) is None
    assert not [key for key in server.objects("killed/") if key.endswith(".lock")]


@pytest.mark.soak
def test_a_build_that_is_killed_at_every_point_ends_with_the_same_bytes(
    radar_plan: Plan, run: Run, tmp_path: Path
) -> None:
    store = f"s3://{BUCKET}/soaked/cube"
    kills = [
        Mishap("before commit", "kill"),
        Mishap("written", "kill", nth=4, after=("after commit", 2)),
        Mishap("merged", "kill"),
        Mishap("before commit", "kill", nth=2),
        Mishap("after commit", "kill"),
    ]
    for nth, kill in enumerate(kills):
        ended = run(*radar_plan.command, store, mishaps=(kill,), folder=tmp_path / str(nth))
        assert ended.code == -signal.SIGKILL, ended.output
        left = read_run(Place.of(store))
        assert left is not None
        assert not left.going

    ended = run(*radar_plan.command, store)

    assert (ended.code, computed(ended)) == (0, 3), ended.output
    same(contents(store), radar_plan.whole)


@pytest.mark.soak  # a lock is stale after a minute
def test_a_holder_that_is_stopped_for_longer_than_its_lease_harms_nothing(
    radar_plan: Plan, run: Run, launcher: Launcher, server: S3Server, tmp_path: Path
) -> None:
    store = f"s3://{BUCKET}/stopped/cube"
    stopped = launcher.start(
        *radar_plan.command, store, mishaps=(Mishap("before commit", "stop", nth=2),),
        folder=tmp_path / "stopped", variables=server.environment(),
    )  # fmt: skip
    until(lambda: psutil.Process(stopped.pid).status() == psutil.STATUS_STOPPED, "it to stop")
    place = Place.of(store)
    held = lease._fetch(lease._objects(place), place)
    assert held is not None
    assert held.process is not None
    # As one of another machine would be: here its process is known to live.
    elsewhere = held.body.replace(json.dumps(held.process).encode(), b"null")
    obstore.put(lease._objects(place), place.beside, elsewhere)

    ended = run(*radar_plan.command, store)
    assert ended.code == 0, ended.output
    same(contents(store), radar_plan.whole)
    snapshot = Store.of(store).snapshot()

    stopped.signal(signal.SIGCONT)
    late = stopped.end()
    assert late.code == 2, late.output
    assert "Traceback" not in late.output
    assert Store.of(store).snapshot() == snapshot
    same(contents(store), radar_plan.whole)


def test_no_object_holds_a_key(remote: str, server: S3Server) -> None:
    held = server.objects()
    assert held
    for name, body in held.items():
        assert server.secret.encode() not in body, name
        assert server.key.encode() not in body, name


WRONG: dict[str, tuple[str, dict[str, str], str]] = {
    "no such bucket": ("s3://nowhere/cube", {}, "no such bucket"),
    "no path": (f"s3://{BUCKET}", {}, "names a bucket and a path, as s3://bucket/cube"),
    "a user": (f"s3://me:word@{BUCKET}/cube", {}, f"s3://{BUCKET}/cube: .* user, query"),
    "a query": (f"s3://{BUCKET}/cube?key=word", {}, "user, query or fragment"),
    "a blank": (f"s3://{BUCKET}/my cube", {}, "no blank"),
    "no key": (
        CUBE,
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    "an unknown key": (
        CUBE,
        {"AWS_ACCESS_KEY_ID": "AKIANOBODY"},
        r"the credentials are refused \(InvalidAccessKeyId\)",
    ),
    "a wrong secret": (
        CUBE,
        {"AWS_SECRET_ACCESS_KEY": "a-wrong-word"},
        r"the credentials are refused \(SignatureDoesNotMatch\)",
    ),
    "no server": (
        CUBE,
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        "http://127.0.0.1:9 refuses connections",
    ),
    "no host": (
        CUBE,
        {"AWS_ENDPOINT_URL": "http://nowhere.invalid"},
        "the host of http://nowhere.invalid is not known",
    ),
    "no region": (
        CUBE,
        {"AWS_ENDPOINT_URL": "", "AWS_REGION": ""},
        "set AWS_REGION to the region of the bucket",
    ),
    "another scheme": ("ftp://host/cube", {}, "cannot write to ftp://"),
    "no account": ("az://container/cube", {}, "set AZURE_STORAGE_ACCOUNT_NAME"),
    "nothing there": (f"s3://{BUCKET}/nothing", {}, "there is nothing here"),
    "nothing plain there": (f"s3://{BUCKET}/nothing.zarr", {}, "there is nothing here"),
}
"""A store, variables of the environment, and what a command says."""


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_used_is_said_in_one_line(name: str, run: Run) -> None:
    store, variables, words = WRONG[name]
    line = refusal(run("status", store, variables=variables))
    assert re.search(words, line), line
    assert not {"word", "AKIANOBODY", "a-wrong-word"} & set(line.replace("@", " ").split())


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("a query", "an unknown key")
        else pytest.param(name, marks=pytest.mark.soak)
        for name in WRONG
        if "nothing" not in name
    ],
)
def test_every_verb_says_it_in_the_same_words(
    name: str, run: Run, scenes: Path, tmp_path: Path
) -> None:
    store, variables, _ = WRONG[name]
    line, built, shown = (
        refusal(run(*command, variables=variables))
        for command in (
            ("status", store),
            ("build", "--scenes", scenes, *WHERE, "--block", "64", "--out", store),
            ("show", store, "--out", tmp_path / "x.png"),
        )
    )
    assert built == line
    assert shown == line


def test_debug_shows_no_key_either(run: Run, server: S3Server) -> None:
    for variables in (
        {"AWS_ACCESS_KEY_ID": "AKIANOBODY"},
        {"AWS_SECRET_ACCESS_KEY": "a-wrong-word"},
    ):
        ended = run("status", CUBE, "--debug", variables=variables)
        assert ended.code == 2
        assert "Traceback" in ended.output
        assert "AKIANOBODY" not in ended.output
        assert "a-wrong-word" not in ended.output


def test_a_server_that_is_silent_is_not_waited_for(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(location, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(InputError, match=f"{url} gives no answer"):
            Store.of(f"s3://{BUCKET}/silent").exists()


def test_plain_zarr_is_read_where_it_was_copied_to(
    remote: str, run: Run, server: S3Server, tmp_path: Path
) -> None:
    plain = export(remote, tmp_path / "cube.zarr")
    client = server.client()
    for file in plain.rglob("*"):
        if file.is_file():
            client.upload_file(str(file), BUCKET, f"copied/{file.relative_to(tmp_path)}")
    store = f"s3://{BUCKET}/copied/cube.zarr"

    for name, node in open_cube(plain).children.items():
        xr.testing.assert_identical(open_cube(store)[name].dataset.load(), node.dataset.load())
    assert json.loads(run("status", store, "--json").output)["format"] == "zarr"
    refused = run("export", remote, "--out", f"s3://{BUCKET}/other.zarr")
    assert "exports go to a local folder; copy it from there" in refusal(refused)


@pytest.mark.parametrize(
    ("store", "variables"),
    [("gs://bucket/cube", "GOOGLE_APPLICATION_CREDENTIALS"), ("az://box/cube", "AZURE_STORAGE_")],
)
def test_other_clouds_without_credentials(
    store: str, variables: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in list(os.environ):
        if name.startswith(("GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "nobody")
    reach.cache_clear()
    with pytest.raises(InputError, match=f"there are no credentials; set {variables}"):
        Store.of(store).exists()


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("gs://bucket/deep/cube", ["Gcs", "bucket=bucket,", "prefix=deep/cube)"]),
        (
            "az://box/deep/cube",
            ["Azure", "account=somebody,", "container=box,", "prefix=deep/cube"],
        ),
    ],
)
def test_other_clouds_are_found_by_bucket_and_prefix(
    store: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(location, "reach", lambda place: None)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "somebody")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")
    text = str(location.open_storage(location.locate(store)))
    assert all(word in text for word in words), text
    assert "c2VjcmV0" not in text


def test_a_store_is_not_made_inside_another(remote: str, server: S3Server) -> None:
    for inside in (f"{remote}/inner", f"{remote}/deep/inner"):
        with pytest.raises(InputError, match=f"{inside} lies inside the store {remote}; choose"):
            lay_out(Store.of(inside), Layout("cube", {}, ()))
        assert not Store.of(inside).exists()
    assert lay_out(Store.of(f"{remote}-beside"), Layout("cube", {}, (GroupLayout("", ()),)))
