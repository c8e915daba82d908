"""Zarr for readers of all kinds: without shards, as v2, as float32."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr

from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.mapping.opened import open_latents
from terralatent.pipeline.store.digests import changed_files
from terralatent.pipeline.store.repository import Store

WAYS = {
    "sharded": {},
    "chunks": {"shards": False},
    "v2": {"zarr_format": 2},
    "float32": {"precision": "float32"},
    "v2 float32": {"zarr_format": 2, "precision": "float32"},
}


@pytest.mark.parametrize("way", WAYS)
def test_xarray_has_products_alone_as_data_variables(
    annual: Path, tmp_path: Path, way: str
) -> None:
    folder = export(annual, tmp_path / "annual.zarr", **WAYS[way])
    root = Store.of(annual).group()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = xr.open_zarr(folder, chunks=None)
    assert set(opened.data_vars) == {"mean", "log_std", "observations"}
    assert {"state", "clipped", "time_bnds", "cube_snapshot", "spatial_ref"} <= set(opened.coords)
    assert opened.attrs["Conventions"] == "CF-1.11"
    assert opened["cube_snapshot"].values.tolist() == ["A", "B", "Ä"]
    assert opened["component"].values.tolist() == [0, 1, 2, 3, 4]  # 0 is a value, and no fill
    assert opened.rio.crs.to_epsg() == 32631
    packed = np.asarray(root["log_std"])
    wanted = np.where(packed == -128, np.nan, packed * 0.02 - 1.5)
    np.testing.assert_allclose(opened["log_std"], wanted, atol=1e-6)
    np.testing.assert_array_equal(opened["observations"], np.asarray(root["observations"]))
    float32 = "float32" in way
    assert opened["mean"].dtype == (np.float32 if float32 else np.float64)
    raw = xr.open_zarr(folder, chunks=None, mask_and_scale=False)
    if not float32:
        np.testing.assert_array_equal(raw["log_std"], packed)
    assert list(changed_files(folder)) == []
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert export(annual, folder, **WAYS[way]) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_without_shards_each_chunk_is_a_file(annual: Path, tmp_path: Path) -> None:
    folder = export(annual, tmp_path / "annual.zarr", variable="mean", shards=False)

    array = zarr.open_array(folder / "mean", mode="r")
    assert (array.shards, array.chunks) == (None, (1, 5, 8, 8))
    assert len(list((folder / "mean" / "c").rglob("*/0/*/*"))) == 3 * 4 * 4


def test_gdal_of_before_3_11_reads_v2(annual: Path, latents: Path, tmp_path: Path) -> None:
    folder = export(annual, tmp_path / "annual.zarr", zarr_format=2)

    with rasterio.open(f'ZARR:"{folder}":/log_std') as file:
        wanted = np.asarray(Store.of(annual).group()["log_std"])
        np.testing.assert_array_equal(file.read().reshape(wanted.shape), wanted)
        assert (file.scales[0], file.offsets[0], file.nodata) == (0.02, -1.5, -128)
        assert file.crs.to_epsg() == 32631
        assert file.transform[:6] == (10.0, 0.0, 540_000.0, 0.0, -10.0, 5_680_000.0)
    assert (folder / ".zmetadata").is_file()
    assert not list(folder.rglob("zarr.json"))


def test_a_cube_as_v2_has_its_tables(two_sensors: Path, tmp_path: Path) -> None:
    folder = export(two_sensors, tmp_path / "cube.zarr", zarr_format=2)

    tree, cube = xr.open_datatree(folder, engine="zarr"), open_cube(two_sensors, clear=False)
    for name in ("sentinel-1-asc", "sentinel-2-l2a"):
        np.testing.assert_allclose(tree[name]["data"], cube[name]["data"], rtol=1e-5, atol=1e-6)
        assert tree[name]["band"].values.tolist() == cube[name]["band"].values.tolist()
        np.testing.assert_array_equal(tree[name]["time"], cube[name]["time"])
        assert set(tree[name].data_vars) <= {"data", "quality"}


def test_this_package_reads_latents_without_shards_and_as_float32(
    latents: Path, tmp_path: Path
) -> None:
    wanted = open_latents(latents).compute()
    for way in ("chunks", "float32"):
        opened = open_latents(export(latents, tmp_path / f"{way}.zarr", **WAYS[way]))
        for name in ("mean", "std"):
            np.testing.assert_array_equal(opened[name], wanted[name])  # to the last bit
