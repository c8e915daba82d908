"""A cube holds each acquisition once, as its files say, whatever blocks, copies and failures."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from distributed import Client

from terralatent.catalogs.documents.serve import serving
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.scaling import Scaling
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS, Packing
from terralatent.pipeline.cube.layout import cube_layout
from terralatent.pipeline.cube.losses import Loss
from terralatent.pipeline.ingest import read_tasks
from terralatent.pipeline.ingest.build import BuildReport, build_cube
from terralatent.pipeline.ingest.harmonise import pack, pack_item, unpack
from terralatent.pipeline.region import grid
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import SIDE, region

S2, S1 = SENSORS["sentinel-2-l2a"], SENSORS["sentinel-1-asc"]


def may(catalogue: Path) -> Scenes:
    return search_scenes(catalogue, region(), "2018-05-01", "2018-05-31")


def arrays(cube: Path) -> dict[str, np.ndarray]:
    """Every pixel of a cube."""
    return {
        f"{sensor}/{name}": group[name][...]
        for sensor, group in Store.of(cube).group(kind="cube").groups()
        for name in ("data", "quality")
        if name in group
    }


def assert_same(one: Path, other: Path) -> None:
    first, second = arrays(one), arrays(other)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


def drop(scenes: Scenes, item_id: str) -> Scenes:
    """The scenes of a catalogue without one item."""
    return Scenes.gather(
        [item for item in scenes.items if item["id"] != item_id],
        [SENSORS[name] for name in scenes.requested],
        source=scenes.source,
        period=scenes.period,
        access=scenes.access,
    )


# Digital numbers to packed integers.


def test_both_copies_of_a_reprocessed_scene_give_the_same_integers() -> None:
    dn = np.arange(0, 20_000, dtype=np.uint16)
    old = pack_item(dn, Scaling(1e-4, 0.0, 0), S2)
    new = pack_item(np.where(dn == 0, 0, dn + 1000).astype(np.uint16), Scaling(1e-4, -0.1, 0), S2)

    np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(old[1:], dn[1:].astype(int) + 1000)
    assert old[0] == S2.packing.fill_value


def test_no_data_becomes_the_fill_value_and_data_never_does() -> None:
    dn = np.array([0, 1, 500, 65_535], dtype=np.uint16)

    packed = pack_item(dn, Scaling(1e-4, -0.2, 0), S2)

    assert list(packed) == [0, 1, 1, 64_535]
    clipped = pack_item(np.array([65_000], dtype=np.uint16), Scaling(1e-4, 0.0, 0), S2)
    assert list(clipped) == [65_535]


@pytest.mark.parametrize("scale", [1e-4, 2.75e-5, 1.0])
@pytest.mark.parametrize(
    "packing", [Packing(1e-4, -0.2, 0, "uint16"), Packing(0.01, 0.0, -32768, "int16")]
)
def test_packing_loses_half_a_step_at_most(scale: float, packing: Packing) -> None:
    rng = np.random.default_rng(0)
    low, high = (np.iinfo(packing.dtype).min + 1, np.iinfo(packing.dtype).max)
    units = rng.uniform(low, high, 1000) * packing.scale_factor + packing.add_offset
    values = (units - 0.05) / scale
    missing = rng.random(1000) < 0.1

    packed = pack(values, missing, scale, 0.05, packing)
    read = unpack(packed, packing, packed != packing.fill_value)

    np.testing.assert_array_equal(np.isnan(read), missing)
    error = np.abs(read - units)[~missing] / packing.scale_factor
    assert error.max() < 0.51


def test_power_becomes_decibels_and_no_power_is_no_data() -> None:
    power = np.array([1.0, 0.1, 0.0, -0.2, np.nan, np.inf], dtype=np.float32)

    packed = pack_item(power, Scaling(1.0, 0.0, None), S1)

    assert list(packed) == [0, -1000, *[S1.packing.fill_value] * 4]


# Whole cubes.


def test_the_cube_holds_what_the_files_hold(catalogue: Path, cube: Path) -> None:
    data = Store.of(cube).group()["sentinel-2-l2a/data"]
    quality = Store.of(cube).group()["sentinel-2-l2a/quality"]

    def file(item: str, band: str) -> np.ndarray:
        pixels = rasterio.open(catalogue / "sentinel-2-l2a" / item / f"{band}.tif").read(1)
        return pixels.repeat(SIDE // pixels.shape[0], 0).repeat(SIDE // pixels.shape[0], 1)

    for band in ("B02", "B12"):
        place = S2.bands.index(band)
        np.testing.assert_array_equal(data[0, place], file("S2_A", band).astype(int) + 1000)
        np.testing.assert_array_equal(data[3, place], file("S2_D_N0500", band))
    np.testing.assert_array_equal(quality[2], file("S2_C", "SCL"))

    power = rasterio.open(catalogue / "sentinel-1-rtc" / "S1_3" / "vv.tif").read(1)
    read = Store.of(cube).group()["sentinel-1-asc/data"][0, 0, ::2, ::2]
    assert (read[:3] == -32768).all()
    np.testing.assert_allclose(read[3:] * 0.01, 10 * np.log10(power[3:]), atol=0.00501)


def test_the_first_item_with_data_counts_and_brings_its_own_mask(
    catalogue: Path, cube: Path
) -> None:
    def mosaic(band: str) -> np.ndarray:
        files = [
            rasterio.open(catalogue / "sentinel-2-l2a" / f"S2_B_{half}" / f"{band}.tif").read(1)
            for half in ("left", "right")
        ]
        step = SIDE // files[0].shape[0]
        left, right = (pixels.repeat(step, 0).repeat(step, 1) for pixels in files)
        whole = np.zeros((SIDE, SIDE), dtype=int)
        whole[:, 16:] = right
        whole[:, :24] = np.where(hole[:, :24], whole[:, :24], left)
        return whole

    # The hole of the left item: bands of 10 m lack 4:12, those of 20 m lack 8:24.
    hole = np.zeros((SIDE, SIDE), dtype=bool)
    hole[4:12, 4:12] = True
    both = hole.copy()
    both[8:24, 8:24] = True
    everywhere_missing = hole & np.pad(np.ones((16, 16), bool), ((8, 16), (8, 16)))
    data = Store.of(cube).group()["sentinel-2-l2a/data"][1]
    quality = Store.of(cube).group()["sentinel-2-l2a/quality"][1]

    outside = ~both
    np.testing.assert_array_equal(
        data[S2.bands.index("B02")][outside], mosaic("B02")[outside] + 1000
    )
    np.testing.assert_array_equal(quality[outside], mosaic("SCL")[outside])
    # Left of column 16 there is no second item: no data, never zero reflectance.
    assert (data[:, 8:12, 8:12] == 0).all()
    assert everywhere_missing[8:12, 8:12].all()
    assert (quality[8:12, 8:12] == 0).all()
    # Where only some bands of the first item are there, the others are no data: no mixture.
    assert (data[S2.bands.index("B02"), 4:8, 4:8] == 0).all()
    assert (data[S2.bands.index("B12"), 4:8, 4:8] > 0).all()


def test_blocks_change_no_pixel(
    made_up: Scenes, cube: Path, workers: Client, tmp_path: Path
) -> None:
    build_cube(made_up, region(), tmp_path / "cube", block=64, client=workers)
    assert_same(cube, tmp_path / "cube")

    build_cube(made_up, region(), tmp_path / "small", block=8, memory="8MB", client=workers)
    assert_same(cube, tmp_path / "small")
    assert (Store.of(tmp_path / "small").group()["sentinel-2-l2a/state"][:] == 1).all()
    assert Store.of(tmp_path / "small").group()["sentinel-2-l2a/state"].shape == (1, 5, 5)


def test_either_copy_of_an_acquisition_gives_the_same_cube(
    made_up: Scenes, cube: Path, workers: Client, tmp_path: Path
) -> None:
    for copy in ("S2_D_N0207", "S2_D_N0500"):
        out = tmp_path / copy
        build_cube(drop(made_up, copy), region(), out, block=16, client=workers)
        assert_same(cube, out)


def test_building_again_writes_nothing(made_up: Scenes, cube: Path, workers: Client) -> None:
    before = Store.of(cube).snapshot()

    report = build_cube(made_up, region(), cube, block=16, client=workers)

    assert report == BuildReport(
        str(cube), before, {"sentinel-2-l2a": 4, "sentinel-1-asc": 2}, tasks=0, losses=()
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"block": 8}, "block is 16 there, 8 here"),
        ({"resolution": 20.0}, "grid.transform is"),
        ({"crs": "EPSG:32632"}, 'grid.crs is "EPSG:32631" there, "EPSG:32632" here'),
    ],
)
def test_another_cube_is_refused(
    made_up: Scenes, cube: Path, workers: Client, change: dict[str, object], words: str
) -> None:
    before = Store.of(cube).snapshot()

    with pytest.raises(InputError, match=words):
        build_cube(made_up, region(), cube, **{"block": 16, "client": workers, **change})

    assert Store.of(cube).snapshot() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"block": 100}, "A block of 100 pixels cannot be"),
        ({"block": 0}, "A block of 0 pixels cannot be"),
        ({"memory": "much"}, "Memory 'much' is no size"),
        (
            {"memory": "1MB"},
            "of sentinel-2-l2a takes .* MB a worker; give more memory= or a smaller block=",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_made(
    made_up: Scenes, tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        build_cube(made_up, region(), tmp_path / "cube", **options)

    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_is_masked_and_named_and_read_when_it_is_back(
    catalogue: Path, cube: Path, workers: Client, tmp_path: Path
) -> None:
    copy = shutil.copytree(catalogue, tmp_path / "catalogue")
    broken = copy / "sentinel-2-l2a" / "S2_C" / "B03.tif"
    gone = copy / "sentinel-1-rtc" / "S1_9" / "vh.tif"
    whole = {path: path.read_bytes() for path in (broken, gone)}
    broken.write_bytes(whole[broken][:900])
    gone.unlink()
    scenes, out = may(copy), tmp_path / "cube"

    report = build_cube(scenes, region(), out, block=16, client=workers)

    assert [(loss.sensor, loss.item, loss.band) for loss in report.losses] == [
        ("sentinel-2-l2a", "S2_C", "B03"),
        ("sentinel-1-asc", "S1_9", "vh"),
    ]
    assert "vh.tif" in report.losses[1].reason
    assert str(report.losses[1]).startswith("sentinel-1-asc S1_9 vh: ")
    root = Store.of(out).group()
    assert (root["sentinel-2-l2a/state"][:] == 2).all()
    lost = root["sentinel-2-l2a/data"][2, S2.bands.index("B03")]
    np.testing.assert_array_equal(lost, S2.packing.fill_value)
    other = np.delete(root["sentinel-2-l2a/data"][2], S2.bands.index("B03"), axis=0)
    assert (other != S2.packing.fill_value).all()
    assert (root["sentinel-1-asc/data"][1, 1] == -32768).all()

    for path, content in whole.items():
        path.write_bytes(content)
    repaired = build_cube(scenes, region(), out, block=16, client=workers)

    assert repaired.losses == ()
    assert repaired.tasks == report.tasks
    assert (Store.of(out).group()["sentinel-2-l2a/state"][:] == 1).all()
    assert_same(cube, out)


def test_over_http_a_missing_file_is_named_and_read_when_it_is_back(
    catalogue: Path, cube: Path, workers: Client, tmp_path: Path
) -> None:
    copy = shutil.copytree(catalogue, tmp_path / "catalogue")
    gone = copy / "sentinel-1-rtc" / "S1_3" / "vv.tif"
    with serving(copy) as url:
        scenes = search_scenes(url, region(), "2018-05-01", "2018-05-31")
        gone.rename(tmp_path / "vv.tif")
        (loss,) = build_cube(scenes, region(), tmp_path / "cube", block=16, client=workers).losses
        (tmp_path / "vv.tif").rename(gone)
        repaired = build_cube(scenes, region(), tmp_path / "cube", block=16, client=workers)

    assert (loss.item, loss.band) == ("S1_3", "vv")
    assert "404" in loss.reason
    assert (repaired.tasks, repaired.losses) == (1, ())
    assert_same(cube, tmp_path / "cube")


def test_a_unit_that_fails_stays_pending_and_is_named(
    made_up: Scenes, cube: Path, workers: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Callable[..., object] = read_tasks.read_pixels

    def failing(acquisitions: object, sensor: object, *args: object, **options: object) -> object:
        if sensor == S1:
            raise MemoryError("too wide")
        return read(acquisitions, sensor, *args, **options)

    monkeypatch.setattr(read_tasks, "read_pixels", failing)
    report = build_cube(made_up, region(), tmp_path / "cube", block=16, client=workers)
    monkeypatch.undo()

    name = "every scene from 2018-05-03 to 2018-05-09 (read task 0/0/0)"
    assert report.losses == (Loss(S1.name, name, "", "MemoryError: too wide"),)
    assert (Store.of(tmp_path / "cube").group()["sentinel-1-asc/state"][:] == 0).all()

    again = build_cube(made_up, region(), tmp_path / "cube", block=16, client=workers)

    assert (again.tasks, again.losses) == (1, ())
    assert_same(cube, tmp_path / "cube")


def test_the_items_table_tells_the_fate_of_every_item(made_up: Scenes, cube: Path) -> None:
    items = Store.of(cube).group()["items"]

    assert items["id"].shape == (8,)
    fates = dict(zip(items["id"][:], items["fate"][:], strict=True))
    assert fates["S2_D_N0207"] == "dropped"
    assert fates["S2_B_right"] == "merged"
    assert sum(fate == "used" for fate in fates.values()) == 6
    reasons = dict(zip(items["id"][:], items["reason"][:], strict=True))
    assert "S2_D_N0500" in reasons["S2_D_N0207"]


# The real scenes.


def test_the_real_scenes_have_their_dates(scenes: Path) -> None:
    searched = search_scenes(scenes, scenes / "region.geojson", "2017-08-01", "2018-11-30")
    layout = cube_layout(searched, grid(region(), 10.0), 64)

    dates = {
        group.path: array.shape[0]
        for group in layout.groups
        for array in group.arrays
        if (array.name, array.dims) == ("time", ("time",))
    }
    assert dates == {"sentinel-2-l2a": 118, "sentinel-1-asc": 159, "landsat-c2-l2": 24}


@pytest.mark.soak
def test_real_reprocessed_scenes_give_the_same_reflectance(
    scenes: Path, workers: Client, tmp_path: Path
) -> None:
    place = scenes / "region.geojson"
    searched = search_scenes(scenes, place, "2018-10-16", "2018-10-28", ["sentinel-2-l2a"])
    dropped = [fate.item_id for fate in searched.fates if fate.fate == "dropped"]
    newer = [name.replace("N0207", "N0500") for name in dropped]
    older = dataclasses.replace(searched)
    for name in newer:
        older = drop(older, name)
    assert len(newer) == 3

    for name, some in (("newer", searched), ("older", older)):
        build_cube(some, place, tmp_path / name, block=64, client=workers)

    assert_same(tmp_path / "newer", tmp_path / "older")
    assert Store.of(tmp_path / "newer").group()["sentinel-2-l2a/data"].shape[2:] == (64, 64)


def test_real_scenes_from_an_api_and_from_the_folder_make_equal_cubes(
    scenes: Path, workers: Client, tmp_path: Path
) -> None:
    place, autumn = scenes / "region.geojson", ("2018-09-01", "2018-09-10")
    with serving(scenes) as url:
        for name, source in (("served", url), ("folder", scenes)):
            searched = search_scenes(source, place, *autumn)
            assert set(searched.sensors) == {"sentinel-2-l2a", "sentinel-1-asc", "landsat-c2-l2"}
            report = build_cube(searched, place, tmp_path / name, block=64, client=workers)
            assert report.losses == ()

    assert_same(tmp_path / "served", tmp_path / "folder")
