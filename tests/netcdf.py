"""What is opened, written by xarray itself and read again."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

__all__ = ["assert_same_in_netcdf"]


def assert_same_in_netcdf(opened: xr.Dataset, folder: Path) -> None:
    """Check that netCDF holds all of it: values to the bit, names, grid and attributes."""
    file = folder / "opened.nc"
    opened.to_netcdf(file, engine="h5netcdf")
    with xr.open_dataset(file, engine="h5netcdf", decode_coords="all") as again:
        xr.testing.assert_equal(again.load(), opened.load())
        for name, values in opened.data_vars.items():
            assert again[name].dtype == values.dtype, name
        assert set(opened.attrs) <= set(again.attrs)
        assert again.attrs["Conventions"] == "CF-1.11"
        if "spatial_ref" in opened.coords:
            assert again.rio.crs == opened.rio.crs
    file.unlink()
