"""Pictures of results show what was observed, where the cube is still there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from terralatent.pipeline import decode, open_cube
from terralatent.pipeline.cube.masking import Masking
from terralatent.pipeline.mapping.opened import open_bands
from terralatent.pipeline.pictures.band_series import band_series
from terralatent.pipeline.pictures.observed import captions_of, cube_of, unobserved, unobserved_note
from terralatent.pipeline.store.repository import Store
from tests.made.models import made_up_model

S2 = "sentinel-2-l2a"


@pytest.fixture(scope="module")
def bands(cube: Path, workers: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bands of a copy of the cube, so that it may go; masked more widely than it says."""
    folder = tmp_path_factory.mktemp("observed")
    shutil.copytree(cube, folder / "cube")
    model, masking = made_up_model(cube, folder / "model"), {S2: Masking(dilate=2)}
    dates = "2018-05-06,2018-05-16,2018-05-26"
    out = folder / "bands"
    decode(folder / "cube", model, S2, dates, out, masking=masking, client=workers)
    return out


def opened(store: Path) -> tuple[xr.Dataset, xr.DataTree | None]:
    bands = open_bands(store)
    return bands, cube_of(Store.of(store), bands.attrs)


def test_the_dots_are_the_clear_observations_and_the_ticks_all_others(
    bands: Path, cube: Path
) -> None:
    decoded, found = opened(bands)
    wanted = open_cube(cube, masking={S2: Masking(dilate=2)})[S2].ds
    share = wanted["clear"].mean("time").values
    row, column = (int(n) for n in np.argwhere((share > 0) & (share < 1))[0])
    pixel = wanted.isel(y=row, x=column).compute()
    clear = pixel["clear"].values & np.isfinite(pixel["data"].sel(band="B08").values)

    figure = band_series(decoded, (column, row), "B08", found)

    axis: Any = figure.axes[0]
    dots = next(line for line in axis.lines if line.get_label() == "clear observation")
    np.testing.assert_array_equal(dots.get_xdata(), pixel.time.values[clear])
    np.testing.assert_array_equal(dots.get_ydata(), pixel["data"].sel(band="B08").values[clear])
    ticks = [own for own in axis.collections if "LineCollection" in type(own).__name__]
    assert sum(len(own.get_segments()) for own in ticks) == (~pixel["clear"].values).sum()
    assert "not found" not in axis.get_xlabel()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == len(set(labels)) >= 5


def test_without_its_cube_a_picture_says_so(bands: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(bands, tmp_path / "bands")
    decoded, found = opened(alone)
    assert found is None
    axis = band_series(decoded, (3, 4), "ndvi", None).axes[0]
    assert "the cube that these bands were made from is not found" in axis.get_xlabel()
    assert "independent" in axis.get_xlabel()
    assert not any(line.get_label() == "clear observation" for line in axis.lines)


def test_a_snapshot_that_was_let_go_is_no_cube(bands: Path) -> None:
    attrs = open_bands(bands).attrs
    assert cube_of(Store.of(bands), attrs) is not None
    assert cube_of(Store.of(bands), {**attrs, "cube_snapshot": "0" * 20}) is None
    assert cube_of(Store.of(bands), {}) is None


def test_dates_far_from_every_acquisition_are_marked(bands: Path) -> None:
    _, found = opened(bands)
    assert found is not None
    passes = np.concatenate([found[name].ds.time.values for name in (S2, "sentinel-1-asc")])
    times = np.arange("2018-02-01", "2018-09-01", 7, dtype="datetime64[D]").astype("M8[us]")
    wanted = [min(abs(time - own) for own in passes) > np.timedelta64(45, "D") for time in times]
    assert any(wanted)
    assert not all(wanted)
    assert unobserved(times, found).tolist() == wanted
    captions = captions_of(times, found)
    assert [caption.endswith("unobserved") for caption in captions] == wanted
    assert "no acquisition within 45 days" in unobserved_note(captions)
    assert unobserved_note(captions_of(times, None)) == ""
