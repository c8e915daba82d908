"""An export is plain Zarr that holds what the store holds, and never takes another's place."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.cube.series import read_series
from terralatent.pipeline.export.formats import export
from terralatent.pipeline.store.repository import Store

NAMES = ("sentinel-2-l2a", "sentinel-1-asc")


@pytest.fixture(scope="module")
def exported(cube: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(cube, tmp_path_factory.mktemp("export") / "cube.zarr")


def test_an_export_opens_as_the_cube_does(cube: Path, exported: Path) -> None:
    one, other = open_cube(cube), open_cube(exported)

    assert set(one.children) == set(other.children)
    for name in one.children:
        xr.testing.assert_identical(
            one[name].to_dataset().compute(), other[name].to_dataset().compute()
        )


def test_the_integers_and_the_packing_are_the_same(cube: Path, exported: Path) -> None:
    for name in NAMES:
        store, copy = Store.of(cube).group()[name], zarr.open_group(str(exported), mode="r")[name]
        for array in ("data", "quality", "time", "band", "state"):
            if array in store:
                np.testing.assert_array_equal(store[array][...], copy[array][...])
                assert store[array].attrs.asdict() == copy[array].attrs.asdict()
                assert store[array].shards == copy[array].shards


def test_xarray_alone_reads_the_same_values_without_a_warning(cube: Path, exported: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(exported, engine="zarr")
        optical = xr.open_zarr(exported, group="sentinel-2-l2a")

    wanted = open_cube(cube, clear=False)
    for name in NAMES:
        np.testing.assert_allclose(tree[name]["data"], wanted[name]["data"], atol=1e-5, rtol=1e-6)
        assert (tree[name]["time"].values == wanted[name]["time"].values).all()
    assert {"baseline", "spatial_ref", "cloud_cover"} <= set(optical.coords)
    assert optical.rio.crs.to_epsg() == 32631


def test_series_are_read_from_an_export_too(cube: Path, exported: Path) -> None:
    one, other = (
        read_series(Store.of(store).group(), NAMES, slice(3, 20), slice(8, 30))
        for store in (cube, exported)
    )

    np.testing.assert_array_equal(one.observations, other.observations)


def test_exporting_again_changes_nothing(cube: Path, exported: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in exported.rglob("*")}

    assert export(cube, exported) == exported
    assert before == {path: path.stat().st_mtime_ns for path in exported.rglob("*")}


def test_a_part_is_that_part(cube: Path, tmp_path: Path) -> None:
    out = export(
        cube, tmp_path / "part.zarr", sensor="sentinel-2-l2a", variable="data", date="2018-05-11"
    )

    part = open_cube(out, clear=False)
    assert set(part.children) == {"sentinel-2-l2a", "items"}
    assert "quality" not in part["sentinel-2-l2a"]
    wanted = open_cube(cube, clear=False)["sentinel-2-l2a"]["data"].isel(time=[2])
    np.testing.assert_array_equal(part["sentinel-2-l2a"]["data"].values, wanted.values)
    assert [p.name for p in tmp_path.iterdir()] == ["part.zarr"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sensor": "landsat-c2-l2"}, "no sensor 'landsat-c2-l2'; it has sentinel-1-asc, sent"),
        ({"variable": "mean"}, "no variable 'mean'; it has data, quality"),
        ({"date": "2018-07-01"}, "nothing on 2018-07-01; the nearest date is 2018-05-16T10:50:00"),
        ({"date": "yesterday"}, "'yesterday' is no ISO date"),
    ],
)
def test_what_is_not_there_is_not_exported(
    cube: Path, tmp_path: Path, options: dict[str, str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        export(cube, tmp_path / "out.zarr", **options)

    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(cube: Path, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()

    with pytest.raises(InputError, match="exists and is not this export"):
        export(cube, tmp_path / "mine")
    with pytest.raises(InputError, match="exists and is not this export"):
        export(cube, exported, sensor="sentinel-2-l2a")
    with pytest.raises(InputError, match="go to a local folder"):
        export(cube, "s3://bucket/out.zarr")


def test_what_a_killed_export_left_goes_with_the_next(cube: Path, tmp_path: Path) -> None:
    left = tmp_path / ".cube.zarr.new"
    (left / "sentinel-2-l2a").mkdir(parents=True)
    (left / "sentinel-2-l2a" / "zarr.json").write_text("{}")

    export(cube, tmp_path / "cube.zarr")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["cube.zarr"]
    assert open_cube(tmp_path / "cube.zarr")
