"""What `status` says of stores and models, finished, in the making or cut short."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import zarr
from distributed import Client
from rich.console import Console, RenderableType

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.models.checkpoint import CheckpointError, model_hash
from terralatent.pipeline import open_cube, open_latents, status
from terralatent.pipeline.attributes import writable_attrs
from terralatent.pipeline.cli.pages.status import _timescales, history_page, status_page
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.info.status import Status
from terralatent.pipeline.info.stores import States
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.store.digests import SUMS
from terralatent.pipeline.store.history import history
from terralatent.pipeline.store.lock.run_note import Run
from terralatent.pipeline.store.lock.writer import read_run, writer_lock
from terralatent.pipeline.store.repository import ABOUT, Store
from tests.made.catalogue import region
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube
from tests.waiting import WITHIN_S

ROOT = Path(__file__).resolve().parents[2]


def page(report: Status, width: int = 80) -> str:
    """The page as somebody reads it whose standard output is a file."""
    return written(status_page(report), width)


def written(drawn: RenderableType, width: int = 80) -> str:
    out = Console(file=io.StringIO(), width=width, highlight=False)
    out.print(drawn, crop=False)
    return out.file.getvalue()  # type: ignore[attr-defined]


def until(other: subprocess.Popen[str], store: Path, known: Callable[[Run], bool]) -> Status:
    """Ask until the run is as it should be; what it knows it writes within a second."""
    end = time.monotonic() + WITHIN_S
    while (run := read_run(store)) is None or not known(run):
        assert other.poll() is None
        assert time.monotonic() < end, run
        time.sleep(0.05)
    return status(store)


def start(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start ``code`` in another process, with a progress ``Gate(n)`` that stops at ``n`` units.

    It says so by a line, and goes on when its standard input is closed.
    """
    gate = (
        "import sys\n"
        "from distributed import Client, LocalCluster\n"
        "class Gate:\n"
        "    def __init__(self, stop): self.done, self.stop = 0, stop\n"
        "    def start(self, total, title): pass\n"
        "    def close(self): pass\n"
        "    def advance(self, n=1, **fields):\n"
        "        self.done += n\n"
        "        if self.done == self.stop:\n"
        "            print('stopped', flush=True)\n"
        "            sys.stdin.read()\n"
        "def client():\n"
        "    return Client(LocalCluster(n_workers=1, threads_per_worker=1, processes=False,\n"
        "                               dashboard_address=None))\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", gate + code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return other


def stopped(other: subprocess.Popen[str]) -> None:
    assert other.stdout is not None
    assert other.stdout.readline() == "stopped\n"


EMBED = """
from terralatent.pipeline.mapping.embed import embed
embed(*sys.argv[1:], dates="2018-05-20,2018-06-20", client=client(), progress=Gate(4))
"""


@pytest.fixture(scope="module")
def model(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_model(cube, tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def seen_embedding(
    cube: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Status]]:
    """Latents that another process made, and what was said of them while it did."""
    out = tmp_path_factory.mktemp("latents") / "latents"
    other = start(EMBED, cube, model, out)
    try:
        stopped(other)
        seen = [until(other, out, lambda run: run.done == 4)]
        seen += [status(out) for _ in range(20)]
        assert other.stdin is not None
        other.stdin.close()
        while other.poll() is None:  # to the end, at any moment
            seen.append(status(out))
            with suppress(subprocess.TimeoutExpired):
                other.wait(0.05)
        assert other.returncode == 0
    finally:
        other.kill()
        other.wait()
    return out, seen


def test_the_status_of_a_cube_is_what_opening_it_gives(cube: Path, made_up: Scenes) -> None:
    report, tree = status(cube), open_cube(cube)
    assert (report.kind, report.format, report.run) == ("cube", "icechunk", None)
    assert (report.store, report.snapshot) == (str(cube), Store.of(cube).snapshot())
    assert report.commits == len(list(Store.of(cube).repository().ancestry(branch="main"))) - 1
    assert report.bytes == sum(file.stat().st_size for file in cube.rglob("*") if file.is_file())
    assert report.cube is not None
    assert report.cube.period == ("2018-05-01", "2018-05-31")

    assert set(report.cube.sensors) == set(made_up.sensors)
    for name, sensor in report.cube.sensors.items():
        node = tree[name].to_dataset()
        assert list(sensor.bands) == list(node.band.values)
        times = [acquisition.time for acquisition in made_up.acquisitions(name)]
        assert sensor.dates.count == len(times)
        for text, time_ in ((sensor.dates.first, times[0]), (sensor.dates.last, times[-1])):
            assert text == f"{time_.astype('datetime64[s]')}Z"
        assert sensor.units == States(node.state.size, 0, 0)
        assert (sensor.losses, sensor.first_losses) == (0, ())

    items, fates = report.cube.items, Counter(fate.fate for fate in made_up.fates)
    assert items is not None
    assert (items.used, items.merged, items.dropped) == (
        fates["used"], fates["merged"], fates["dropped"],
    )  # fmt: skip
    assert {fate: sum(why.values()) for fate, why in items.reasons.items()} == {
        "merged": fates["merged"], "dropped": fates["dropped"],
    }  # fmt: skip
    assert all("S2_" not in reason for why in items.reasons.values() for reason in why)

    grid = tree["sentinel-2-l2a"].ds.odc.geobox
    assert report.grid is not None
    assert (report.grid.crs, report.grid.shape) == (
        f"EPSG:{grid.crs.to_epsg()}",
        tuple(grid.shape),
    )
    assert report.grid.bounds == grid.boundingbox.bbox
    assert (report.grid.resolution, report.block) == (10.0, 16)


def test_what_is_missing_is_counted_and_named(cube: Path, tmp_path: Path) -> None:
    broken = tmp_path / "cube"
    shutil.copytree(cube, broken)
    session = Store.of(broken).repository().writable_session("main")
    group = zarr.open_group(session.store)["sentinel-2-l2a"]
    group["state"][0, 0, :2] = 2
    group["state"][0, 1, 0] = 0
    lost = [
        {"sensor": "sentinel-2-l2a", "item": "S2_A", "band": band, "reason": "HTTP 404"}
        for band in ("B02", "B03")
    ]
    # One file that failed in two units counts once.
    group.attrs["losses"] = [
        {"unit": unit, **loss} for unit in ("0/0/0", "0/0/16") for loss in lost
    ]
    session.commit("lose some")

    report = status(broken)
    assert report.cube is not None
    sensor = report.cube.sensors["sentinel-2-l2a"]
    assert sensor.units == States(done=6, partial=2, pending=1)
    assert sensor.losses == 2
    assert sensor.first_losses[0] == "sentinel-2-l2a S2_A B02: HTTP 404"
    text = page(report)
    assert "6 done, 2 partial, 1 pending" in " ".join(text.split())
    assert "2 files could not be read" in text
    assert "sentinel-2-l2a S2_A B03: HTTP 404" in text


def test_an_embedding_in_another_process_is_seen_and_not_disturbed(
    seen_embedding: tuple[Path, list[Status]],
) -> None:
    out, seen = seen_embedding
    first = seen[0]
    assert first.kind == "latents"
    assert first.run is not None
    assert (first.run.going, first.run.stage) == (True, "embed")
    assert (first.run.done, first.run.total) == (4, 9)
    assert first.result is not None
    assert first.result.blocks == States(0, 0, 9)  # nothing is committed yet
    assert "embed 4 of 9 (44 %)" in page(first)
    counts = [stood.run.done for stood in seen if stood.run is not None]
    assert counts == sorted(counts)

    assert status(out).run is None
    assert [item.name for item in out.parent.iterdir()] == ["latents"]


def test_the_status_of_latents_is_what_opening_them_gives(
    seen_embedding: tuple[Path, list[Status]], cube: Path, model: Path
) -> None:
    out, _ = seen_embedding
    report, opened = status(out), open_latents(out)
    assert report.kind == "latents"
    assert report.result is not None
    assert report.result.blocks == States(9, 0, 0)
    assert {name: array["dims"] for name, array in report.result.arrays.items()} == {
        name: dict(array.sizes) for name, array in opened.drop_vars("information").items()
    }
    assert (report.result.dates.first, report.result.dates.last) == (
        "2018-05-20T00:00:00Z", "2018-06-20T00:00:00Z",
    )  # fmt: skip
    provenance = report.result.provenance
    assert provenance["model_hash"] == model_hash(model) == status(model).model.hash
    assert provenance["cube_snapshot"] == status(cube).snapshot
    assert {**opened.attrs, **writable_attrs(provenance)} == opened.attrs
    assert report.result.clipped == 0


def test_an_export_has_the_same_status(
    seen_embedding: tuple[Path, list[Status]], cube: Path, tmp_path: Path
) -> None:
    for store in (cube, seen_embedding[0]):
        report = status(store)
        plain = status(export(store, tmp_path / f"{store.name}.zarr"))
        assert (plain.format, plain.snapshot, plain.commits) == ("zarr", None, None)
        for name in ("kind", "code_version", "grid", "block", "cube", "result"):
            assert getattr(plain, name) == getattr(report, name)
    day = status(export(cube, tmp_path / "day.zarr", date="2018-05-01"))
    assert day.cube is not None
    assert day.cube.sensors["sentinel-2-l2a"].dates.count == 1
    assert day.cube.sensors["sentinel-2-l2a"].units is None
    assert page(day)


BUILD = """
from pathlib import Path
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.pipeline.ingest import build
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.region import blocks
from terralatent.pipeline.ingest.windows import ReadWindows
from tests.made.catalogue import region
build.plan_windows = lambda *_: ReadWindows(blocks((40, 40), 16), 16)
scenes = search_scenes(Path(sys.argv[1]), region(), "2018-05-01", "2018-05-31")
build_cube(scenes, region(), sys.argv[2], block=16, client=client(), progress=Gate(3))
"""


@pytest.mark.soak  # tests.pipeline.store.test_writer kills a run in every run of the tests
def test_a_build_that_was_killed_is_shown_as_interrupted(
    catalogue: Path, made_up: Scenes, cube: Path, workers: Client, tmp_path: Path
) -> None:
    out = tmp_path / "cube"
    other = start(BUILD, catalogue, out)
    stopped(other)
    going = until(other, out, lambda run: run.done == 3)
    assert going.run is not None
    assert (going.run.going, going.run.pid, going.run.total) == (True, other.pid, 18)
    assert going.cube is not None
    assert {sensor.units for sensor in going.cube.sensors.values()} == {States(0, 0, 9)}
    with pytest.raises(InputError, match=f"process {other.pid} on .* build 3 of 18;"):
        build_cube(made_up, region(), out, block=16, client=workers)

    other.send_signal(signal.SIGKILL)
    other.communicate(timeout=WITHIN_S)
    killed = status(out)
    assert killed.run is not None
    assert (killed.run.going, killed.run.done, killed.run.ended) == (False, 3, None)
    text = page(killed)
    assert "build was interrupted at 3 of 18 (17 %)" in text
    assert "its process was killed" in text
    assert "running" not in text

    build_cube(made_up, region(), out, block=16, client=workers)
    whole = status(out)
    assert whole.run is None
    assert whole.cube == status(cube).cube


@pytest.mark.soak  # an embedding in another process is seen in every run
def test_a_training_in_another_process_is_seen_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cube = tiny_cube(tmp_path / "cube", side=16, block=8)
    code = (
        "from terralatent.pipeline import cli\n"
        "from terralatent.pipeline.training.train import train\n"
        "from tests.made.rough import make_rough\n"
        "make_rough()\n"
        "train.__kwdefaults__.update(batch=16, validate_every=2, patience=10**6)\n"
        "sys.argv = ['/somewhere/bin/terralatent', *sys.argv[1:]]\n"
        "cli.main()\n"
    )
    out = tmp_path / "a model"
    steps = ("--latents", "2", "--steps", "100000")
    other = start(code, "train", cube, "--out", out, *steps)
    try:
        seen = until(other, out, lambda run: run.done >= 2)
        assert (seen.kind, seen.snapshot, seen.grid) == ("model", None, None)
        assert seen.model is not None
        assert seen.model.step is not None
        assert (seen.model.finished, seen.model.hash, seen.model.steps) == (False, None, 100_000)
        assert set(seen.model.sensors or ()) == {"sentinel-1-asc", "sentinel-2-l2a"}
        assert [source.snapshot for source in seen.model.cubes] == [Store.of(cube).snapshot()]
        assert seen.run is not None
        assert set(seen.run.fields) == {"loss", "best"}
        other.send_signal(signal.SIGTERM)
        other.communicate(timeout=WITHIN_S)
        assert other.returncode == 130
    finally:
        other.kill()
        other.wait()

    ended = status(out)
    assert ended.run is not None
    assert ended.model is not None
    assert (ended.run.going, ended.run.ended) == (False, "interrupted")
    assert ended.model.hash == model_hash(out)
    assert ended.model.step is not None
    assert ended.model.step >= ended.run.done >= 2
    assert [source.store for source in ended.model.cubes] == [str(cube)]
    command = f"terralatent train {cube} --out '{out}' {' '.join(steps)}"
    assert ended.run.go_on == command
    # One line, however wide the terminal; where it was typed it can be typed as it is.
    monkeypatch.chdir(ROOT)
    assert page(ended).endswith(f"\n  go on with: {command}\n")
    monkeypatch.chdir(tmp_path)
    assert page(ended).endswith(f"\n  go on with: cd {ROOT} && {command}\n")


def test_a_model_without_its_training_has_a_status(model: Path) -> None:
    report = status(model)
    assert report.model is not None
    assert (report.kind, report.model.hash) == ("model", model_hash(model))
    assert (report.model.latents, report.model.step, report.model.cubes) == (4, None, ())
    assert page(report)


def test_a_store_that_is_not_laid_out_yet_has_a_status(tmp_path: Path) -> None:
    with writer_lock(tmp_path / "cube"):
        report = status(tmp_path / "cube")
        assert report.run is not None
        assert (report.kind, report.run.going, report.bytes) == (None, True, 0)
        assert "starting" in page(report)
    with pytest.raises(InputError, match="there is nothing here"):
        status(tmp_path / "cube")


def test_json_has_every_field_and_iso_times(
    cube: Path, model: Path, seen_embedding: tuple[Path, list[Status]]
) -> None:
    for report in (status(cube), status(model), seen_embedding[1][0]):
        values = json.loads(json.dumps(report.to_json(), allow_nan=False))
        assert set(values) == set(Status.__dataclass_fields__)
        for time_ in (values["committed"], (values["run"] or {}).get("updated")):
            assert time_ is None or datetime.fromisoformat(time_).tzinfo is not None
    assert values["run"]["going"] is True
    assert {"left_s", "go_on"} <= set(values["run"])
    assert values["result"]["blocks"] == {"done": 0, "partial": 0, "pending": 9}


def test_pages_fit_into_80_columns(
    cube: Path, model: Path, seen_embedding: tuple[Path, list[Status]]
) -> None:
    for report in (status(cube), status(model), seen_embedding[1][0], status(seen_embedding[0])):
        lines = page(report).splitlines()
        head = f"{report.kind}  {report.store}"
        assert " ".join(lines).replace(" ", "").startswith(head.replace(" ", ""))
        assert max(map(len, lines)) <= 80
        assert "\x1b" not in page(report)


FORGED = "build\nB0MHVDZWX5VVJECEAVCG  nothing to see\r\x1b[2J\u2028here"


def test_no_word_of_a_store_makes_a_line_of_its_own(cube: Path, tmp_path: Path) -> None:
    """Messages of commits, tags, reasons, attributes: a stranger's store may hold anything."""
    store = Store.of(shutil.copytree(cube, tmp_path / "cube"))
    session = store.repository().writable_session("main")
    root = zarr.open_group(session.store, mode="r+")
    root.update_attributes({ABOUT: {**root.attrs[ABOUT], "code_version": FORGED}})  # type: ignore
    losses = [{**dict.fromkeys(("sensor", "item", "band", "reason"), FORGED), "unit": "0/0/0"}]
    root["sentinel-2-l2a"].attrs["losses"] = losses
    root["items/reason"][0] = FORGED  # type: ignore[index]
    session.commit(FORGED)
    store = Store.of(tmp_path / "cube")
    (newest, *_) = states = history(store)
    assert newest.message == FORGED
    lines = written(history_page(states), 200).splitlines()
    lines = [line for line in lines if not line.startswith("  kept for")]
    assert len(lines) == len(states)
    assert all(line.split()[0] == state.id for line, state in zip(lines, states, strict=True))
    text = page(status(store.address))
    assert not any(line.strip().startswith("B0MHVDZWX5VVJECEAVCG") for line in text.splitlines())
    assert not set("\r\x1b\u2028") & set(text)


def test_what_is_none_of_ours_is_refused_in_one_line(
    catalogue: Path, made_up: Scenes, tmp_path: Path
) -> None:
    file = tmp_path / "scenes.parquet"
    made_up.to_parquet(file)
    plain = tmp_path / "foreign.zarr"
    zarr.create_group(str(plain)).create_array("x", shape=(2,), dtype="int8")
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "catalog.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for place, words in (
        (
            tmp_path / "nowhere",
            "there is nothing here; a cube, latents, bands or a model is wanted",
        ),
        (file, r"scenes.parquet is a file; .* `terralatent build`"),
        (plain, "foreign.zarr is not of terralatent"),
        (catalogue, "is not of terralatent"),
        (tmp_path / "catalogue", "is a folder of scenes; .* `terralatent build` makes a cube"),
        (tmp_path / "empty", "is not of terralatent"),
        ("ftp://host/x", "ftp://"),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(InputError, match=words):
            status(place)
        assert sorted(tmp_path.rglob("*")) == before
    (tmp_path / "empty" / "model.json").write_text('{"name": "another program"}')
    with pytest.raises(CheckpointError, match="not a terralatent model"):
        status(tmp_path / "empty")


def test_reading_no_pixels_it_needs_no_chunks(cube: Path, tmp_path: Path) -> None:
    """A plain Zarr whose pixels are gone has a status all the same, where nothing lists them."""
    plain = export(cube, tmp_path / "cube.zarr")
    (plain / SUMS).unlink()
    before = status(plain)
    for name in before.cube.sensors:  # type: ignore[union-attr]
        shutil.rmtree(plain / name / "data" / "c")
    after = status(plain)
    assert after.cube == before.cube
    assert np.isnan(open_cube(plain)["sentinel-1-asc"]["data"].values).all()


def test_a_kernel_is_told_with_the_memories_it_has() -> None:
    line = _timescales({"constant": [None, None], "white": [0.0, 0.0], "matern32": [9.6, 40.2]})

    assert line == "kernel constant + white + matern32 of 10 to 40 days"
