"""The opened cube is lazy, in physical units, and says what the store says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.pipeline.cube.masking import Masking
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.store.digests import SUMS
from terralatent.pipeline.store.repository import Store
from tests.netcdf import assert_same_in_netcdf

NAMES = ("sentinel-2-l2a", "sentinel-1-asc")


def test_opening_reads_no_pixels_and_chunks_are_shards(cube: Path) -> None:
    tree = open_cube(cube)

    assert set(tree.children) == {*NAMES, "items"}
    for name in NAMES:
        data = tree[name]["data"]
        assert data.dims == ("time", "band", "y", "x")
        assert data.dtype == np.float32
        assert isinstance(data.data, da.Array)
        assert data.chunks[2:] == ((16, 16, 8), (16, 16, 8))
        assert len(data.chunks[0]) == len(data.chunks[1]) == 1
        assert tuple(data["band"].values) == SENSORS[name].bands
    assert tree["sentinel-2-l2a"]["quality"].dtype == np.uint8
    assert tree["sentinel-2-l2a"]["clear"].dtype == bool


def test_values_are_the_integers_unpacked(cube: Path) -> None:
    tree = open_cube(cube, clear=False)
    for name in NAMES:
        stored = Store.of(cube).group()[name]["data"]
        packing = SENSORS[name].packing
        wanted = stored[...] * packing.scale_factor + packing.add_offset
        wanted[stored[...] == packing.fill_value] = np.nan

        np.testing.assert_allclose(tree[name]["data"].values, wanted, atol=1e-5, rtol=1e-6)
        assert np.isnan(wanted).any()


def test_the_rule_decides_what_is_clear(cube: Path) -> None:
    masked, whole = (open_cube(cube, clear=c)["sentinel-2-l2a"].to_dataset() for c in (True, False))

    clear = whole["quality"].isin([4, 5, 6, 7])
    xr.testing.assert_equal(whole["clear"].compute(), clear.compute())
    xr.testing.assert_equal(masked["data"].compute(), whole["data"].where(clear).compute())
    assert 0.5 < float(clear.mean()) < 1.0


def test_a_sensor_without_mask_is_clear_where_it_has_data(cube: Path) -> None:
    radar = open_cube(cube)["sentinel-1-asc"].to_dataset()

    seen = radar["data"].notnull().any("band")
    np.testing.assert_array_equal(radar["clear"].values, seen.values)
    assert "quality" not in radar


def test_dates_and_places_are_known(cube: Path) -> None:
    tree = open_cube(cube)
    optical = tree["sentinel-2-l2a"].to_dataset()

    assert optical["time"].dtype == np.dtype("datetime64[us]")
    assert str(optical["time"].values[1]) == "2018-05-06T10:50:00.000000"
    assert list(optical["baseline"].values) == ["02.07", "02.07", "02.07", "05.00"]
    np.testing.assert_array_equal(optical["offset"], [0.0, 0.0, 0.0, -0.1])
    assert optical["data"].rio.crs.to_epsg() == 32631
    assert optical["data"].odc.geobox.crs.to_epsg() == 32631
    assert optical["data"].odc.geobox.transform[:6] == (
        10.0,
        0.0,
        501_360.0,
        0.0,
        -10.0,
        5_629_680.0,
    )
    assert (np.diff(optical["y"]) == -10.0).all()
    assert (np.diff(optical["x"]) == 10.0).all()
    assert (optical["state"] == 1).all()
    assert tree["items"].sizes["item"] == 8


def test_what_is_opened_is_written_to_netcdf(cube: Path, tmp_path: Path) -> None:
    tree = open_cube(cube, masking=Masking(outliers=True))
    for name in NAMES:
        assert json.loads(tree[name].attrs["losses"]) == []
        assert_same_in_netcdf(tree[name].to_dataset(), tmp_path)
    tree.to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    items = tree["items"]
    assert items["acquisition"].dtype == items["time"].dtype == np.dtype("datetime64[us]")
    assert set(items["acquisition"].values) > set(tree[NAMES[0]]["time"].values)


def test_the_grid_is_told_by_the_conventions(cube: Path) -> None:
    for name in ("", *NAMES):
        attrs = Store.of(cube).group()[name].attrs if name else Store.of(cube).group().attrs
        assert attrs["proj:code"] == "EPSG:32631"
        assert attrs["spatial:shape"] == [40, 40]
        assert attrs["spatial:transform"] == [10.0, 0.0, 501_360.0, 0.0, -10.0, 5_629_680.0]
        names = [convention["name"].rstrip(":") for convention in attrs["zarr_conventions"]]
        assert names == ["proj", "spatial"]


def test_a_snapshot_is_opened_by_its_id(cube: Path) -> None:
    tree = open_cube(cube, snapshot=Store.of(cube).snapshot())

    assert tree.attrs["kind"] == "cube"
    with pytest.raises(InputError, match="has no snapshot"):
        open_cube(cube, snapshot="NOTHERE")
    with pytest.raises(InputError, match="there is no store here"):
        open_cube(cube / "nothing")


def test_the_store_tells_what_was_applied_and_who_told_it(cube: Path) -> None:
    tree = open_cube(cube)
    dates = tree["sentinel-2-l2a"]
    assert list(dates["offset"].values) == [0.0, 0.0, 0.0, -0.1]
    assert set(dates["offset_from"].values) == {"bands"}
    items = tree["items"].to_dataset()
    offsets = dict(zip(items["id"].values, items["offset"].values, strict=True))
    assert offsets["S2_D_N0500"] == -0.1
    assert np.isnan(offsets["S2_D_N0207"]), "which is dropped"


def test_an_older_cube_that_tells_less_opens(cube: Path, tmp_path: Path) -> None:
    export(cube, tmp_path / "old.zarr")
    (tmp_path / "old.zarr" / SUMS).unlink()
    for gone in (tmp_path / "old.zarr").rglob("offset_from"):
        shutil.rmtree(gone)
    for meta in (tmp_path / "old.zarr").rglob("zarr.json"):
        content = json.loads(meta.read_text())
        if "consolidated_metadata" in content:
            del content["consolidated_metadata"]
            meta.write_text(json.dumps(content))
    tree = open_cube(tmp_path / "old.zarr")
    assert "offset_from" not in tree["sentinel-2-l2a"].coords
    assert list(tree["sentinel-2-l2a"]["offset"].values) == [0.0, 0.0, 0.0, -0.1]
