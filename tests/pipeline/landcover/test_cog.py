"""COGs of a map: GDAL reads what the store holds, with colours, names and scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from matplotlib.colors import to_rgb

from terralatent.catalogs.errors import InputError
from terralatent.pipeline import open_landcover
from terralatent.pipeline.landcover.cog import require_cog, write_cogs
from terralatent.pipeline.store.repository import Store


def test_gdal_reads_what_the_store_holds(land: Path) -> None:
    opened, root = open_landcover(land), Store.of(land).group()
    for name, ending in (("class", ""), ("probability", "-probability"), ("entropy", "-entropy")):
        with rasterio.open(land.with_name(f"map{ending}.tif")) as file:
            stored = np.asarray(root[name])
            np.testing.assert_array_equal(file.read(), stored.reshape(-1, *stored.shape[-2:]))
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.crs == opened.rio.crs
            assert file.transform == opened.rio.transform()
            assert file.nodata == root[name].attrs["_FillValue"]
            if name != "class":
                assert set(file.scales) == {root[name].attrs["scale_factor"]}


def test_classes_have_their_colours_and_names(land: Path) -> None:
    attrs = open_landcover(land)["class"].attrs
    with rasterio.open(land.with_name("map.tif")) as file:
        table, tags = file.colormap(1), file.tags()
    for value, name, colour in zip(
        attrs["flag_values"], attrs["class_names"], attrs["flag_colors"].split(), strict=True
    ):
        assert tags[f"CLASS_{value}"] == name
        assert np.array(table[value][:3]) / 255 == pytest.approx(to_rgb(colour))
    assert table[0][3] == 0
    with rasterio.open(land.with_name("map-probability.tif")) as file:
        assert list(file.descriptions) == attrs["class_names"]


def test_a_cog_is_written_whole_and_again_the_same(land: Path, tmp_path: Path) -> None:
    write_cogs(Store.of(land), "landcover", tmp_path / "deep" / "map.tif")
    before = (tmp_path / "deep" / "map.tif").read_bytes()
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [
        "map-entropy.tif", "map-probability.tif", "map.tif",
    ]  # fmt: skip
    write_cogs(Store.of(land), "landcover", tmp_path / "deep" / "map.tif")
    assert (tmp_path / "deep" / "map.tif").read_bytes() == before


def test_places_where_no_cog_can_be_are_named(land: Path, tmp_path: Path) -> None:
    for name, words in (
        ("s3://bucket/map.tif", "a COG is a local file that ends in .tif"),
        (tmp_path / "map.png", "a COG is a local file"),
        (land / "map.tif", "lies inside the store"),
    ):
        with pytest.raises(InputError, match=words):
            require_cog(name)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write"):
        write_cogs(Store.of(land), "landcover", tmp_path / "file" / "map.tif")
