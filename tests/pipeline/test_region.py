"""Grids hold their region, fit their neighbours, and fall into blocks without gap or overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.xr import xr_coords
from shapely.geometry import box

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.aoi import read_aoi
from terralatent.pipeline.region import blocks, grid, grid_of
from terralatent.pipeline.store.arrays import GroupLayout, Layout, grid_arrays
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.repository import Store

places = st.tuples(st.floats(-179, 178), st.floats(-79, 83), st.floats(1e-4, 0.05))


@settings(max_examples=12, deadline=None)
@given(place=places, resolution=st.sampled_from([10.0, 20.0, 30.0, 7.5]))
def test_a_grid_holds_its_region_with_edges_on_multiples(
    place: tuple[float, float, float], resolution: float
) -> None:
    west, south, size = place
    outline = box(west, south, west + size, south + size)

    laid = grid(outline, resolution)

    edges = np.array(laid.boundingbox.bbox) / resolution
    np.testing.assert_allclose(edges, np.rint(edges), atol=1e-6)
    held = laid.extent.buffer(0.02 * resolution).to_crs("EPSG:4326", resolution="auto").geom
    assert held.contains(outline.centroid)
    assert held.buffer(1e-6).covers(outline)
    assert laid.crs.to_epsg() // 100 in (326, 327)


def test_regions_side_by_side_share_their_pixels() -> None:
    west, east = (grid(box(x, 50.0, x + 0.01, 50.01), 10.0, "EPSG:32631") for x in (3.0, 3.005))

    shift = np.array(~west.transform @ (east.transform @ (0, 0)))

    np.testing.assert_allclose(shift, np.rint(shift), atol=1e-6)


def test_the_real_region_is_its_64_pixels(scenes: Path) -> None:
    laid = grid(read_aoi(scenes / "region.geojson"), 10.0)

    assert tuple(laid.shape) == (64, 64)
    assert tuple(laid.transform)[2:6:3] == (501_360.0, 5_629_680.0)


@pytest.mark.parametrize(
    ("resolution", "crs", "words"),
    [
        (10.0, "EPSG:99999", "CRS 'EPSG:99999' is unknown"),
        (10.0, "nonsense", "CRS 'nonsense' is unknown"),
        (10.0, "EPSG:4326", "is in degrees"),
        (0.0, None, "no pixel size"),
        (float("nan"), None, "no pixel size"),
        (1e-3, None, "give a coarser one"),
    ],
)
def test_what_makes_no_grid_is_refused(resolution: float, crs: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        grid(box(3.0, 50.0, 3.1, 50.1), resolution, crs)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 60))
def test_blocks_hold_each_pixel_once(rows: int, columns: int, size: int) -> None:
    counts = np.zeros((rows, columns), dtype=int)

    for block in blocks((rows, columns), size):
        counts[block.y, block.x] += 1
        assert block.shape == counts[block.y, block.x].shape
        assert block.index == (block.y.start // size, block.x.start // size)

    assert (counts == 1).all()


def test_a_grid_read_back_is_the_grid_written(tmp_path: Path) -> None:
    written = grid(box(3.0, 50.0, 3.01, 50.01), 10.0)
    lay_out(Store.of(tmp_path / "s"), Layout("cube", {}, (GroupLayout("", grid_arrays(written)),)))

    read = grid_of(Store.of(tmp_path / "s").group())

    assert read == written


@settings(max_examples=8, deadline=None)
@given(place=places, resolution=st.sampled_from([10.0, 7.5]))
def test_a_grid_is_kept_as_xarray_would_have_it(
    place: tuple[float, float, float], resolution: float
) -> None:
    west, south, size = place
    own = grid(box(west, south, west + size, south + size), resolution)

    for array in grid_arrays(own):
        wanted = xr_coords(own)[array.name]
        assert array.data is not None
        assert array.data.dtype == wanted.dtype
        np.testing.assert_array_equal(array.data, wanted.values)
        if array.name == "spatial_ref":
            assert list(array.attrs.items()) == list(wanted.attrs.items())
        else:
            assert array.attrs["units"] == wanted.attrs["units"]
