"""The demonstration: the user's own commands one after the other, and scores against the truth."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import odc.geo.xr
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cli.demo import DemoReport, StoppedError, demo
from terralatent.pipeline.cli.demo_landcover import MapScore, label_parcels, score_map
from terralatent.pipeline.cli.demo_scores import Scores, open_truth, score
from terralatent.pipeline.probes.legend import Legend

DEMO = sys.modules["terralatent.pipeline.cli.demo"]
SCORING = sys.modules["terralatent.pipeline.cli.demo_scores"]
MAPPING = sys.modules["terralatent.pipeline.cli.demo_landcover"]
SCORES = Scores(
    dates={"sentinel-2-l2a": 146, "sentinel-1-asc": 61, "sentinel-1-desc": 61},
    clear=0.45, surface_error=0.02, interpolation_error=0.03, coverage=0.8,
    leaf_area_r2=0.8, leaf_area_error=0.6,
)  # fmt: skip
MAPPED = MapScore(accuracy=0.9, classes=9, labels=36)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the demonstration would run: nothing runs."""
    commands: list[list[str]] = []

    def run(command: list[str]) -> int:
        commands.append(command)
        return 0

    @contextmanager
    def served(region: Path, port: int) -> Iterator[str]:
        commands.append(["serving"])
        yield f"http://127.0.0.1:{port}"
        commands.append(["served"])

    monkeypatch.setattr(DEMO, "_run", run)
    monkeypatch.setattr(DEMO, "_served", served)
    monkeypatch.setattr(SCORING, "score", lambda *_: SCORES)
    monkeypatch.setattr(MAPPING, "label_parcels", lambda *_: None)
    monkeypatch.setattr(MAPPING, "score_map", lambda *_: MAPPED)
    return commands


def test_what_is_announced_is_what_runs(ran: list[list[str]], tmp_path: Path) -> None:
    commands: list[str] = []
    demo(tmp_path / "d", announce=commands.append, options=["--quiet"])
    announced = [
        shlex.split(command.removesuffix(" &"))
        for command in commands
        if command[0] != "#" and " serve " not in command
    ]
    real = [command for command in ran if command not in (["serving"], ["served"])]
    assert [command[0] for command in announced] == ["terralatent"] * len(announced)
    # Some run side by side.
    assert sorted(command[2:] for command in real) == sorted(own[1:] for own in announced)
    assert all(command[1] == "--quiet" for command in real)
    verbs = [command[1] for command in announced]
    arrives = ["search", "build", "embed"]
    assert verbs == [
        "simulate", *arrives, *arrives, "changes", "decode", "annual", "classify", "train",
        "embed", "decode", *["show"] * 6,
    ]  # fmt: skip
    # The first maps name no model, the second ones that which was trained further.
    assert [str(tmp_path / "d/model") in command for command in announced[7:14]] == [
        False, False, False, False, True, True, True,
    ]  # fmt: skip
    assert f"terralatent serve {tmp_path}/d/region --port" in commands[1]
    # The API is there for what asks it, and no longer.
    order = [command[2] if len(command) > 2 else command[0] for command in ran]
    assert order.index("serving") < order.index("search") < order.index("build")
    assert order.index("build") < order.index("served") < order.index("train")


def test_a_command_that_fails_stops_it_with_its_exit_code(
    ran: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []
    monkeypatch.setattr(DEMO, "_run", lambda command: 3 if "train" in command else 0)
    with pytest.raises(StoppedError) as stopped:
        demo(tmp_path / "d", announce=commands.append)
    assert stopped.value.code == 3
    assert " train " in commands[-1]


@pytest.mark.parametrize(("code", "error"), [(2, None), (130, KeyboardInterrupt)])
def test_a_command_is_a_process_and_ctrl_c_in_it_is_ours(
    code: int, error: type[BaseException] | None
) -> None:
    command = [sys.executable, "-c", f"raise SystemExit({code})"]
    if error is None:
        assert DEMO._run(command) == code
    else:
        with pytest.raises(error):
            DEMO._run(command)


def test_what_cannot_be_demonstrated_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; the demonstration wants a folder"):
        demo(tmp_path / "file")
    with pytest.raises(InputError, match="Size 32 is too small"):
        demo(tmp_path / "d", size=32)
    assert not (tmp_path / "d").exists()


def test_the_end_names_the_pictures_and_has_five_lines_that_fit_a_terminal() -> None:
    lines = (*SCORES.lines(SCORES), MAPPED.line())
    page = DemoReport((Path("demo/cube.png"),), lines, 150.0).page()
    assert "demo/cube.png" in page
    assert "2.5 minutes" in page
    assert len(lines) == 5
    assert max(map(len, page.splitlines())) <= 80
    longest = replace(SCORES, clear=1.0, coverage=1.0)
    assert max(map(len, longest.lines(longest))) <= 78
    assert len(MapScore(1.0, 10, 40).line()) <= 78


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A region, and a cube, latents and bands of it of which every score is known beforehand."""
    rng, size, bands = np.random.default_rng(1), 12, np.array(["B02", "B08"], object)
    days = np.arange("2018-01-01", "2018-04-11", dtype="datetime64[D]")
    shape = (len(days), len(bands), size, size)
    level = rng.uniform(0.1, 0.4, shape[1:])
    surface = level + 0.001 * np.arange(len(days))[:, None, None, None]  # a straight line in time
    parcel = np.arange(size * size).reshape(size, size) // 6
    cover = 1 + parcel % 3
    area = rng.uniform(0.5, 4.0, (len(days), size, size))
    root = xr.Dataset(
        {"parcel": (("y", "x"), parcel), "land_cover": (("year", "y", "x"), cover[None])},
        coords={"y": np.arange(size), "x": np.arange(size)},
    )
    daily = xr.Dataset(
        {"reflectance": (("time", "band", "y", "x"), surface),
         "leaf_area": (("time", "y", "x"), area)},
        coords={"time": days.astype("datetime64[ns]"), "band": bands},
    )  # fmt: skip
    tree = xr.DataTree.from_dict({"/": root, "/daily": daily})
    tree.to_zarr(tmp_path / "truth.zarr", consolidated=False)

    clear = surface[::5].copy()
    clear[2:4, :, :6] = np.nan
    optical = xr.Dataset(
        {"data": (("time", "band", "y", "x"), clear)},
        coords={"time": days[::5].astype("datetime64[ns]"), "band": bands},
    )
    dates = slice(0, 90, 10)
    decoded = xr.Dataset(
        {"mean": (("time", "band", "y", "x"), surface[dates] + 0.02),
         "std_signal": (("time", "band", "y", "x"), np.full_like(surface[dates], 0.02))},
        coords={"time": days[dates].astype("datetime64[ns]"), "band": bands},
    )  # fmt: skip
    decoded["std_signal"][:, :, :3] = 0.001
    latents = np.stack([np.broadcast_to(cover, area[dates].shape), area[dates]], 1)
    latent = xr.Dataset(
        {"mean": (("time", "latent", "y", "x"), latents)},
        coords={"time": days[dates].astype("datetime64[ns]")},
    )
    opened = xr.DataTree.from_dict({"/sentinel-2-l2a": optical, "/items": xr.Dataset()})
    monkeypatch.setattr(SCORING, "open_cube", lambda _: opened)
    monkeypatch.setattr(SCORING, "open_bands", lambda _: decoded)
    monkeypatch.setattr(SCORING, "open_latents", lambda _: latent)
    return {"region": tmp_path, "gap": np.isnan(clear[:, 0]).mean()}


def test_scores_are_what_can_be_worked_out_by_hand(known: dict[str, Any]) -> None:
    scores = score(known["region"], "cube", "latents", "bands")
    assert scores.dates == {"sentinel-2-l2a": 20}
    assert scores.clear == pytest.approx(1 - known["gap"])
    assert scores.surface_error == pytest.approx(0.02, abs=1e-6)
    # Between clear observations the surface is a straight line.
    assert scores.interpolation_error == pytest.approx(0.0, abs=1e-6)
    assert scores.coverage == pytest.approx(0.75)
    assert scores.leaf_area_r2 > 0.99


@pytest.fixture
def parcelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A region of 36 square parcels: six of each of five crops, five of a sixth, and one pond."""
    edge, across = 6, 6
    number = np.kron(np.arange(across**2).reshape(across, across), np.ones((edge, edge), np.int32))
    crops = np.arange(across**2) % 6
    crops[35] = 6
    names = ["oats", "rye", "peas", "beet", "flax", "hops", "pond"]
    cover = (1 + crops[number.astype(int)]).astype(np.uint8)
    attrs = {"flag_values": list(range(1, 8)), "flag_meanings": " ".join(names)}
    grid = GeoBox.from_bbox((0, 0, 360, 360), "EPSG:32631", resolution=10)
    root = xr.Dataset(
        {"parcel": (("y", "x"), number.astype(np.int32)),
         "land_cover": (("year", "y", "x"), cover[None], attrs)},
    )  # fmt: skip
    root = root.assign_coords({name: grid.coordinates[name].values for name in ("y", "x")})
    root.attrs["proj:code"] = str(grid.crs)
    xr.DataTree.from_dict({"/": root}).to_zarr(tmp_path / "truth.zarr", consolidated=False)
    legend = Legend.of(names[:6])
    table = np.array([0, *(legend.values[legend.names.index(name)] for name in names[:6]), 1])
    mapped = table[cover].astype(np.uint8)  # all right but the pond, which has no label
    land = xr.Dataset(
        {"class": (("y", "x"), mapped, legend.attrs()),
         "entropy": (("y", "x"), np.zeros(mapped.shape, np.float32), {"long_name": "entropy"})},
        attrs={"column": "cover"},
    )  # fmt: skip
    land = odc.geo.xr.assign_crs(land.assign_coords(odc.geo.xr.xr_coords(grid)), grid.crs)
    monkeypatch.setattr(MAPPING, "open_landcover", lambda _: land)
    return {"region": tmp_path, "names": names, "cover": cover, "edge": edge}


def test_labels_are_up_to_four_parcels_of_each_class_that_has_two(
    parcelled: dict[str, Any],
) -> None:
    file = parcelled["region"] / "labels.gpkg"
    label_parcels(parcelled["region"], file)
    labels = geopandas.read_file(file)
    assert labels["cover"].value_counts().to_dict() == dict.fromkeys(parcelled["names"][:6], 4)
    # Each lies within one parcel, 8 m from its edge, and is of that parcel's class.
    assert labels.area.to_numpy() == pytest.approx(44.0**2)
    for label in labels.itertuples():
        column, row = (
            int(label.geometry.centroid.x // 10),
            int(36 - label.geometry.centroid.y // 10),
        )
        assert parcelled["names"][parcelled["cover"][row - 1, column] - 1] == label.cover


def test_a_map_is_scored_where_nobody_labelled_it(parcelled: dict[str, Any]) -> None:
    region, edge = parcelled["region"], parcelled["edge"]
    label_parcels(region, region / "labels.gpkg")
    found = score_map(region, "map", region / "labels.gpkg", region / "beside.png")
    labelled = 24 * 4 * 4  # pixels whose centre is 8 m from the edge
    wrong = edge * edge
    assert found.accuracy == pytest.approx(1 - wrong / (parcelled["cover"].size - labelled))
    assert (found.classes, found.labels) == (6, 24)
    assert (region / "beside.png").stat().st_size > 5_000


def test_a_region_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no truth\.zarr: it is no region that `simulate`"):
        open_truth(tmp_path)


@pytest.mark.soak
def test_the_whole_demonstration(tmp_path: Path) -> None:
    """All of it for real, small; a second time nothing is left to do, with the same scores."""
    first = demo(tmp_path / "d", size=64, steps=20)
    assert all(picture.stat().st_size > 10_000 for picture in first.pictures)
    again = demo(tmp_path / "d", size=64, steps=20)
    assert again.summary == first.summary
