"""What of an opened cube its store is still known for, and what is another one by now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr

from terralatent.pipeline import Masking, open_cube
from terralatent.pipeline.cube.selected import Selection, selection_of
from terralatent.pipeline.store.repository import Store
from tests.made.tiny import SENSORS, tiny_cube

SENSOR = "sentinel-2-l2a"


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cube(tmp_path_factory.mktemp("cube") / "cube", side=20, block=10)


def selected(cube: Path, change: Callable[[xr.Dataset], xr.Dataset]) -> Selection | None:
    opened = open_cube(cube)
    return selection_of({name: change(opened[name].to_dataset()) for name in SENSORS})


def test_an_opened_cube_is_that_of_its_store(cube: Path) -> None:
    found = selected(cube, lambda own: own)
    assert found is not None
    assert found.store == Store.of(cube)
    assert found.snapshot == Store.of(cube).snapshot()
    assert found.window is None
    assert found.sensors == tuple(SENSORS)


def test_so_are_some_of_its_sensors_and_its_masking(cube: Path) -> None:
    opened = open_cube(cube, masking=Masking(dilate=2))
    found = selection_of({SENSOR: opened[SENSOR].to_dataset()})
    assert found is not None
    assert found.sensors == (SENSOR,)
    assert found.masking == Masking(dilate=2)


WINDOWS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "places": lambda own: own.isel(y=slice(3, 9), x=slice(2, 20)),
    "labels": lambda own: own.sel(y=own["y"][3:9], x=own["x"][2:]),
    "twice": lambda own: own.isel(y=slice(1, 15)).isel(y=slice(2, 8), x=slice(2, None)),
    "chunks": lambda own: own.isel(y=slice(3, 9), x=slice(2, None)).chunk({"x": 3, "time": 5}),
    "order of dims": lambda own: own.isel(y=slice(3, 9), x=slice(2, None)).transpose(..., "time"),
}


@pytest.mark.parametrize("how", WINDOWS)
def test_selections_in_space_are_windows(cube: Path, how: str) -> None:
    found = selected(cube, WINDOWS[how])
    assert found is not None
    assert found.window == (slice(3, 9), slice(2, 20))


def set_values(own: xr.Dataset) -> xr.Dataset:
    own = own.copy()
    own["data"][0, 0, 0, 0] = 0.5
    return own


OTHERS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "dates": lambda own: own.isel(time=slice(1, None)),
    "bands": lambda own: own.isel(band=[0]),
    "every other pixel": lambda own: own.isel(x=slice(None, None, 2)),
    "upside down": lambda own: own.isel(y=slice(None, None, -1)),
    "where": lambda own: own.where(own["x"] > float(own["x"][3])),
    "filled": lambda own: own.fillna({"data": 0.0}),
    "computed": lambda own: own.compute(),
    "arithmetic": lambda own: own.assign(data=own["data"] * 1.0),
    "another mask": lambda own: own.assign(clear=~own["clear"]),
    "written into": set_values,
    "moved": lambda own: own.assign_coords(x=own["x"] + 5.0),
    "shifted": lambda own: own.assign(data=own["data"].shift(x=1)),
    "without values": lambda own: own.drop_vars("data"),
}


@pytest.mark.parametrize("how", OTHERS)
def test_what_changes_values_dates_or_bands_is_another_cube(cube: Path, how: str) -> None:
    assert selected(cube, OTHERS[how]) is None


def test_windows_must_be_the_same(cube: Path) -> None:
    first, other = (open_cube(cube)[name].to_dataset() for name in SENSORS)
    assert selection_of(dict(zip(SENSORS, (first, other.isel(x=slice(5))), strict=True))) is None
