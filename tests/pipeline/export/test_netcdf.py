"""A netCDF file holds the integers of the store; readers of CF make float32 of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.export.netcdf import export_netcdf
from terralatent.pipeline.mapping.opened import open_latents
from terralatent.pipeline.store.repository import Store


def test_xarray_reads_what_latents_are_as_float32(latents: Path, tmp_path: Path) -> None:
    file = export_netcdf(latents, tmp_path / "latents.nc")
    wanted = open_latents(latents).compute()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = xr.open_dataset(file, decode_coords="all")
    assert set(opened.data_vars) == {"mean", "std"}
    assert set(opened.coords) == {"time", "latent", "y", "x", "spatial_ref"}
    assert opened.attrs["Conventions"] == "CF-1.11"
    for name in ("mean", "std"):
        assert opened[name].dtype == np.float32
        np.testing.assert_array_equal(opened[name], wanted[name])  # to the last bit
    for name in ("time", "latent", "y", "x"):
        np.testing.assert_array_equal(opened[name], wanted[name])
    assert opened.rio.crs == wanted.rio.crs
    assert opened.rio.transform() == wanted.rio.transform()


def test_gdal_reads_the_integers_and_the_grid(annual: Path, tmp_path: Path) -> None:
    file = export_netcdf(annual, tmp_path / "annual.nc", variable="log_std")

    with rasterio.open(f'NETCDF:"{file}":log_std') as opened:
        wanted = np.asarray(Store.of(annual).group()["log_std"])
        np.testing.assert_array_equal(opened.read().reshape(wanted.shape), wanted)
        assert opened.scales[0] == pytest.approx(0.02)
        assert opened.offsets[0] == pytest.approx(-1.5)
        assert opened.nodata == -128
        assert opened.crs.to_epsg() == 32631
        assert opened.transform[:6] == (10.0, 0.0, 540_000.0, 0.0, -10.0, 5_680_000.0)


def test_offsets_bounds_and_texts_are_kept_and_states_are_not(annual: Path, tmp_path: Path) -> None:
    file = export_netcdf(annual, tmp_path / "annual.nc", date="2017-10-01")

    opened, root = xr.open_dataset(file), Store.of(annual).group()
    assert set(opened.data_vars) == {"mean", "log_std", "observations"}
    packed = np.asarray(root["log_std"])[[1]]
    wanted = np.where(packed == -128, np.nan, packed * np.float32(0.02) + np.float32(-1.5))
    assert opened["log_std"].dtype == np.float32
    np.testing.assert_allclose(opened["log_std"], wanted, rtol=1e-6)
    np.testing.assert_array_equal(opened["observations"], np.asarray(root["observations"])[[1]])
    assert opened["observations"].dtype == np.uint8
    assert opened["time_bnds"].values.astype(np.int64).shape == (1, 2)
    assert opened["cube_snapshot"].values.tolist() == ["B"]
    assert opened["sensor"].values.tolist() == ["sentinel-2-l2a", "sentinel-1-asc"]
    assert not {"state", "clipped"} & set(opened.variables)


def test_a_cube_has_a_group_for_each_sensor_or_one_is_the_root(
    two_sensors: Path, tmp_path: Path
) -> None:
    sensor = {"sensor": "sentinel-2-l2a", "variable": "data"}
    cube = open_cube(two_sensors, clear=False)
    tree = xr.open_datatree(export_netcdf(two_sensors, tmp_path / "cube.nc"), engine="h5netcdf")
    one = xr.open_dataset(export_netcdf(two_sensors, tmp_path / "one.nc", **sensor))

    assert set(tree.children) == {"sentinel-1-asc", "sentinel-2-l2a"}
    for opened, name in (
        (tree["sentinel-1-asc"].to_dataset(), "sentinel-1-asc"),
        (tree["sentinel-2-l2a"].to_dataset(), "sentinel-2-l2a"),
        (one, "sentinel-2-l2a"),
    ):
        np.testing.assert_array_equal(opened["data"], cube[name]["data"])
        np.testing.assert_array_equal(opened["time"], cube[name]["time"])
        assert set(opened.data_vars) <= {"data", "quality"}
        assert opened["band"].values.tolist() == cube[name]["band"].values.tolist()
        assert "platform" in opened.coords


def test_classes_are_flags_of_their_own_type(classes: Path, tmp_path: Path) -> None:
    with h5py.File(export_netcdf(classes, tmp_path / "map.nc")) as file:
        attrs = file["class"].attrs
        assert attrs["flag_values"].dtype == file["class"].dtype == np.uint8
        assert attrs["flag_meanings"] == "maize open_water"
        assert file["class"].chunks == (8, 8)
        assert file["class"].shuffle
        assert file["class"].fletcher32
        assert file["class"].compression == "gzip"
        assert not [name for name in file.attrs if ":" in name]


def test_the_same_again_changes_nothing_and_nothing_is_overwritten(
    latents: Path, annual: Path, tmp_path: Path
) -> None:
    file = export_netcdf(latents, tmp_path / "a.nc")
    before = file.stat().st_mtime_ns
    assert export_netcdf(latents, file) == file
    for store, options in ((annual, {}), (latents, {"variable": "mean"})):
        with pytest.raises(InputError, match="exists and is not this export"):
            export_netcdf(store, file, **options)
    assert file.stat().st_mtime_ns == before
    (tmp_path / "mine.nc").write_text("text")
    with pytest.raises(InputError, match="exists and is not this export"):
        export_netcdf(latents, tmp_path / "mine.nc")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nc", "mine.nc"]
