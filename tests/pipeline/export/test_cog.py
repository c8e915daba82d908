"""COGs hold the integers of the store, date by date or label by label, and say what they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray
from matplotlib.colors import to_rgb
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.export import whole
from terralatent.pipeline.export.cog import MANIFEST, export_cogs
from terralatent.pipeline.export.geotiff import Cog, writing_cogs
from terralatent.pipeline.mapping.opened import open_latents
from terralatent.pipeline.store.arrays import GroupLayout, Layout, coordinate, grid_arrays
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.digests import SUMS, changed_files
from terralatent.pipeline.store.repository import Store
from tests.made.latents import grid


def names(folder: Path) -> set[str]:
    """The files of a folder of COGs but those that say what it holds, hidden ones too."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return files - {MANIFEST, SUMS}


def stored(store: Path, array: str) -> np.ndarray:
    return np.asarray(Store.of(store).group()[array])


def test_a_file_a_date_holds_all_latents_as_they_are_stored(latents: Path, tmp_path: Path) -> None:
    folder = export_cogs(latents, tmp_path / "cogs")
    opened = open_latents(latents)

    days = ("2018-05-04", "2018-06-04", "2018-07-04")
    assert names(folder) == {f"{name}_{day}.tif" for name in ("mean", "std") for day in days}
    for name in ("mean", "std"):
        attrs = Store.of(latents).group()[name].attrs
        for place, day in enumerate(days):
            with rasterio.open(folder / f"{name}_{day}.tif") as file:
                np.testing.assert_array_equal(file.read(), stored(latents, name)[place])
                assert file.descriptions == tuple(f"latent {place}" for place in range(4))
                assert file.tags()["time"] == f"{day}T00:00:00Z"
                assert file.tags()["model_hash"] == "made-up"
                assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
                assert file.profile["compress"] == "zstd"
                assert file.block_shapes == [(512, 512)] * 4
                assert (file.nodata, set(file.scales)) == (
                    attrs["_FillValue"], {attrs["scale_factor"]},
                )  # fmt: skip
                assert (file.crs, file.transform) == (opened.rio.crs, opened.rio.transform())


def test_xarray_reads_the_values_of_the_store(latents: Path, tmp_path: Path) -> None:
    folder = export_cogs(latents, tmp_path / "cogs", variable="mean", date="2018-06-04")

    assert names(folder) == {"mean_2018-06-04.tif"}
    opened = rioxarray.open_rasterio(folder / "mean_2018-06-04.tif", mask_and_scale=True)
    wanted = open_latents(latents)["mean"].isel(time=1).values
    np.testing.assert_array_equal(np.isnan(opened), np.isnan(wanted))
    np.testing.assert_allclose(opened.values, wanted, rtol=1e-6)


def test_a_file_a_label_holds_all_dates(annual: Path, tmp_path: Path) -> None:
    folder = export_cogs(annual, tmp_path / "cogs", files="dimension")

    ends = ["log_std", "mean"]
    wanted = {f"{name}_component-{place}.tif" for name in ends for place in range(5)}
    wanted |= {f"observations_{name}.tif" for name in ("sentinel-2-l2a", "sentinel-1-asc")}
    assert names(folder) == wanted
    with rasterio.open(folder / "log_std_component-3.tif") as file:
        np.testing.assert_array_equal(file.read(), stored(annual, "log_std")[:, 3])
        assert file.descriptions[2] == "2018-10-01T00:00:00Z"
        assert (file.scales, file.offsets, file.nodata) == ((0.02,) * 3, (-1.5,) * 3, -128)
        assert file.tags()["label"] == "component 3"
    with rasterio.open(folder / "observations_sentinel-1-asc.tif") as file:
        np.testing.assert_array_equal(file.read(), stored(annual, "observations")[:, 1])
        assert file.nodata is None


def test_sensors_of_a_cube_have_a_folder_each_or_one_is_chosen(
    two_sensors: Path, tmp_path: Path
) -> None:
    part = {"variable": "data", "date": "2017-08"}
    both = export_cogs(two_sensors, tmp_path / "both", **part)
    chosen = export_cogs(two_sensors, tmp_path / "one", sensor="sentinel-1-asc", **part)

    days = ("01", "10", "20", "29")
    assert names(chosen) == {f"data_2017-08-{day}.tif" for day in days}
    optical = {f"sentinel-2-l2a/data_2017-08-{day}.tif" for day in ("01", "13", "25")}
    assert names(both) == {f"sentinel-1-asc/{name}" for name in names(chosen)} | optical
    with rasterio.open(chosen / "data_2017-08-20.tif") as file:
        data = stored(two_sensors, "sentinel-1-asc/data")
        np.testing.assert_array_equal(file.read(), data[2])
        assert file.descriptions == ("vv", "vh")
        assert file.units == ("dB", "dB")


def test_the_bands_of_a_file_come_from_several_shards(two_sensors: Path, tmp_path: Path) -> None:
    part = {"sensor": "sentinel-2-l2a", "variable": "quality"}
    folder = export_cogs(two_sensors, tmp_path / "cogs", files="dimension", **part)

    assert names(folder) == {"quality.tif"}
    with rasterio.open(folder / "quality.tif") as file:
        assert file.count == 24  # 16 and 8
        np.testing.assert_array_equal(file.read(), stored(two_sensors, "sentinel-2-l2a/quality"))


def test_classes_have_their_colours(classes: Path, tmp_path: Path) -> None:
    folder = export_cogs(classes, tmp_path / "cogs")

    assert names(folder) == {"class.tif"}
    attrs = Store.of(classes).group()["class"].attrs
    with rasterio.open(folder / "class.tif") as file:
        np.testing.assert_array_equal(file.read(1), stored(classes, "class"))
        table = file.colormap(1)
        for value, colour in zip(attrs["flag_values"], attrs["flag_colors"].split(), strict=True):
            assert np.array(table[value][:3]) / 255 == pytest.approx(to_rgb(colour))
        assert file.tags()["CLASS_2"] == "open water"


def test_acquisitions_of_one_day_have_names_of_their_own(tmp_path: Path) -> None:
    times = np.array(["2018-05-04T10:00", "2018-05-04T22:30", "2018-05-05"], "datetime64[us]")
    arrays = [
        coordinate(
            "mean", ("time", "y", "x"), np.arange(3 * 32 * 32, dtype="f4").reshape(3, 32, 32)
        ),
        coordinate("time", ("time",), times.astype(np.int64)),
        *grid_arrays(grid()),
    ]
    made = Layout("latents", {}, (GroupLayout("", tuple(arrays)),))
    lay_out(Store.of(tmp_path / "store"), made)

    folder = export_cogs(tmp_path / "store", tmp_path / "cogs")
    again = export_cogs(tmp_path / "store", tmp_path / "one", date="2018-05-05")

    seconds = ("2018-05-04T100000", "2018-05-04T223000", "2018-05-05T000000")
    assert names(folder) == {f"mean_{time}.tif" for time in seconds}
    assert names(again) == {"mean_2018-05-05T000000.tif"}  # whatever part is taken


def test_the_same_again_makes_what_is_missing_and_nothing_else(
    latents: Path, tmp_path: Path
) -> None:
    folder = export_cogs(latents, tmp_path / "cogs")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert export_cogs(latents, folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before

    gone = folder / "std_2018-06-04.tif"
    whole_file = gone.read_bytes()
    gone.unlink()
    export_cogs(latents, folder)

    assert gone.read_bytes() == whole_file
    changed = {path.name for path in folder.iterdir() if path.stat().st_mtime_ns != before[path]}
    assert changed == {gone.name, SUMS}
    assert len((folder / SUMS).read_text().splitlines()) == 7  # six files and the manifest
    assert list(changed_files(folder)) == []


def test_what_a_folder_holds_of_something_else_is_refused_by_name(
    latents: Path, annual: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    folder = export_cogs(latents, tmp_path / "empty", variable="mean")
    for store, options, words in (
        (annual, {}, 'kind is "latents" there, "annual" here'),
        (latents, {}, 'export.variable is "mean" there, absent here'),
        (latents, {"variable": "mean", "files": "dimension"}, 'export.files is "date" there'),
    ):
        with pytest.raises(InputError, match=words):
            export_cogs(store, folder, **options)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.tif").touch()
    with pytest.raises(InputError, match="exists and is not this export"):
        export_cogs(latents, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["a.tif"]


def test_a_disk_without_room_is_refused_with_numbers(
    latents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(whole.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"may take \d+\.\d\d GB, .* has 0\.00 GB free"):
        export_cogs(latents, tmp_path / "cogs")
    assert list(tmp_path.iterdir()) == []


def test_files_take_no_more_than_was_expected(tmp_path: Path) -> None:
    """Noise, which nothing compresses, of a size that is no multiple of tiles."""
    box = GeoBox((700, 1100), grid().affine, "EPSG:32631")
    cog = Cog(tmp_path / "noise.tif", box, "uint16", ("a", "b"), {"scale_factor": 0.5}, {})
    values = np.random.default_rng(0).integers(0, 65536, (2, 700, 1100), dtype=np.uint16)
    (tmp_path / "aside").mkdir()
    with writing_cogs([cog], tmp_path / "aside") as (file,):
        file.write(values)
        plain = Path(file.name)
        file.close()
        assert plain.stat().st_size <= cog.plain_bytes

    assert cog.path.stat().st_size <= cog.most_bytes
    with rasterio.open(cog.path) as file:
        np.testing.assert_array_equal(file.read(), values)
        assert file.overviews(1) == [2, 4]
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_a_tile_of_very_many_bands_is_smaller() -> None:
    tiles = {
        count: Cog(Path("x"), grid(), "int16", ("",) * count).tile for count in (1, 32, 100, 5000)
    }
    assert tiles == {1: 512, 32: 512, 100: 256, 5000: 128}


def test_the_manifest_says_what_was_exported(annual: Path, tmp_path: Path) -> None:
    folder = export_cogs(annual, tmp_path / "cogs", date="2017-10-01")

    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["terralatent"]["export"] == {
        "sensor": None, "variable": None, "date": "2017-10-01", "format": "cog", "files": "date",
        "snapshot": Store.of(annual).snapshot(),
    }  # fmt: skip
    assert manifest["attributes"]["model_name"] == "made-up"
    assert names(folder) == {f"{a}_2017-10-01.tif" for a in ("mean", "log_std", "observations")}
