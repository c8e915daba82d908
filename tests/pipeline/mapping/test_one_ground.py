"""Latents mean the same whatever way the same ground was delivered.

The model is one in which all that an encoder is given moves latents. Packed latents of the same
scenes are within one packing step; where even the cubes are equal, so are the latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from pyproj import Transformer

from terralatent.catalogs.scenes.search import search_scenes
from terralatent.pipeline import embed, open_latents
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.mapping.latents.packing import MEAN_STEP, STD_STEP
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import region
from tests.made.deliveries import (
    PERIOD,
    PROVIDERS,
    TIMES,
    Files,
    delivered_by,
    earth_search_c1,
    flown_by,
    of_one_acquisition,
    planetary_computer,
    write_acquisitions,
    write_collection,
)
from tests.made.models import awake_model
from tests.made.places import SIDE, corner, scene

S2 = "sentinel-2-l2a"
DATES = "2018-05-06,2018-05-21"
Build = Callable[[str, Iterable[Mapping[str, Any]]], Path]
Embed = Callable[[Path], xr.Dataset]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ground")


@pytest.fixture(scope="module")
def acquisitions(folder: Path) -> tuple[Files, ...]:
    return write_acquisitions(folder / "files")


@pytest.fixture(scope="module")
def build(folder: Path, workers: Client) -> Build:
    """Builds the cube of items."""

    def built(name: str, items: Iterable[Mapping[str, Any]]) -> Path:
        catalogue = write_collection(folder / "files" / f"{name}.json", items)
        found = search_scenes(catalogue, region(), *PERIOD)
        report = build_cube(found, region(), folder / name, block=64, client=workers)
        assert report.losses == ()
        return folder / name

    return built


@pytest.fixture(scope="module")
def cube(build: Build, acquisitions: tuple[Files, ...]) -> Path:
    """As one provider delivers the ground; not to be changed."""
    return build("cube", delivered_by([planetary_computer], acquisitions))


@pytest.fixture(scope="module")
def model(cube: Path, folder: Path) -> Path:
    return awake_model(cube, folder / "model")


@pytest.fixture(scope="module")
def embedded(model: Path, workers: Client) -> Embed:
    """Embeds a cube, packed."""

    def latents(cube: Path) -> xr.Dataset:
        report = embed(
            cube, model, cube.parent / f"{cube.name}-latents", dates=DATES, client=workers
        )
        assert report.losses == ()
        assert report.clipped == 0
        return open_latents(cube.parent / f"{cube.name}-latents").load()

    return latents


@pytest.fixture(scope="module")
def latents(cube: Path, embedded: Embed) -> xr.Dataset:
    """Of the one provider's cube."""
    found = embedded(cube)
    # They say something of the ground: else any two would agree.
    assert (found["mean"].std(("y", "x")) > 100 * MEAN_STEP).all()
    return found


def reflectance(cube: Path) -> np.ndarray:
    """Packed integers (time, band, y, x)."""
    return np.asarray(Store.of(cube).group()[f"{S2}/data"])


def assert_one_meaning(latents: xr.Dataset, expected: xr.Dataset) -> None:
    """Check that packed latents are within one packing step, and there for the same pixels."""
    np.testing.assert_array_equal(latents["observations"], expected["observations"])
    for name, step in (("mean", MEAN_STEP), ("std", STD_STEP)):
        # Packed numbers lie on whole steps: half a one is for their product in float32.
        np.testing.assert_allclose(latents[name], expected[name], rtol=0, atol=1.5 * step)


# -- providers -------------------------------------------------------------------------------------


TURNS = ("earth_search", "earth_search_c1", "planetary_computer_before", "copernicus")
"""Providers that are tried together in every run, and alone in soak."""


@pytest.mark.parametrize(
    "provider",
    [
        pytest.param(name, marks=pytest.mark.soak) if name in TURNS else name
        for name in PROVIDERS
        if name != "planetary_computer"
    ],
)
def test_every_provider_delivers_the_same_ground(
    provider: str,
    acquisitions: tuple[Files, ...],
    build: Build,
    cube: Path,
    embedded: Embed,
    latents: xr.Dataset,
) -> None:
    other = build(provider, delivered_by([PROVIDERS[provider]], acquisitions))
    np.testing.assert_array_equal(reflectance(other), reflectance(cube))
    assert_one_meaning(embedded(other), latents)


def test_providers_may_take_turns(
    acquisitions: tuple[Files, ...], build: Build, embedded: Embed, latents: xr.Dataset
) -> None:
    mixed = build("mixed", delivered_by([PROVIDERS[name] for name in TURNS], acquisitions))
    assert_one_meaning(embedded(mixed), latents)


def test_an_acquisition_that_two_providers_deliver_counts_once(
    acquisitions: tuple[Files, ...], build: Build, embedded: Embed, latents: xr.Dataset
) -> None:
    """Also where one states when the strip began, and the other when it came to the tile."""
    strips, tiles = (
        [of_one_acquisition(item) for item in delivered_by([provider], acquisitions)]
        for provider in (planetary_computer, earth_search_c1)
    )
    for item in tiles:
        item["properties"]["datetime"] = item["properties"]["datetime"].replace("10:50", "10:54")
    both = build("both", [*strips, *tiles])
    assert len(open_cube(both)[S2]["time"]) == len(TIMES)
    assert_one_meaning(embedded(both), latents)


# -- platforms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [pytest.param("A", marks=pytest.mark.soak), "ABC"])
def test_it_does_not_matter_which_sentinel_2_flew(
    units: str,
    acquisitions: tuple[Files, ...],
    build: Build,
    embedded: Embed,
    latents: xr.Dataset,
) -> None:
    """To the bit: a model knows sensors, and all Sentinel-2 are one."""
    turns = [units[number % len(units)] for number in range(len(TIMES))]
    flown = zip(turns, acquisitions, TIMES, strict=True)
    other = build(f"flown-by-{units}", [flown_by(*each) for each in flown])
    stated = np.asarray(open_cube(other)[S2]["platform"])
    assert stated.tolist() == [f"sentinel-2{unit.lower()}" for unit in turns]
    found = embedded(other)
    for name in ("mean", "std", "observations"):
        np.testing.assert_array_equal(found[name], latents[name])


# -- zones -----------------------------------------------------------------------------------------

ZONES = ("EPSG:32631", "EPSG:32632")
MIDDLE = (6.0, 50.8)
"""Where both zones have tiles."""
AROUND = "5.9986,50.7991,6.0014,50.8009"
"""About 100 m each way."""
AWAY = np.array([-85.0, -65.0, -45.0, -25.0, 25.0, 45.0, 65.0, 85.0])
"""Metres from the middle of places that are compared. The ground is of four patches that meet in
the middle, so there the nearest neighbour of the nearest pixel, up to 7.1 m away each, is of the
same patch, however the grids lie."""
PATCHES = np.random.default_rng(31).integers(500, 5000, (len(TIMES), 4))
"""Digital numbers by date."""
PATCHES[1, 2] = 0  # no data

DELIVERED: dict[str, Callable[[int], tuple[str, ...]]] = {
    "31": lambda date: ZONES[:1],
    "32": lambda date: ZONES[1:],
    "turns": lambda date: (ZONES[date % 2],),
    "both": lambda date: ZONES,
}
"""The zones in which a date's files lie."""


def from_middle(zone: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Metres to the right of the middle and up from it, in the first zone, of places in a zone."""
    middle = Transformer.from_crs("EPSG:4326", ZONES[0], always_xy=True).transform(*MIDDLE)
    x, y = Transformer.from_crs(zone, ZONES[0], always_xy=True).transform(x, y)
    return x - middle[0], y - middle[1]


def patch(right: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Which patch lies there."""
    found: np.ndarray = (right > 0) + 2 * (up > 0)
    return found


def tile_of(zone: str, folder: Path, date: int) -> dict[str, Any]:
    """Write one date's scene as the tile of a zone."""
    left, top = corner(zone, *MIDDLE)
    along = 10.0 * np.arange(SIDE) + 5.0
    right, up = from_middle(zone, *np.meshgrid(left + along, top - along))
    return scene(
        folder,
        f"T{zone[-2:]}_{date}",
        TIMES[date],
        crs=zone,
        at=(left, top),
        numbers=PATCHES[date][patch(right, up)],
        s2__mgrs_tile={ZONES[0]: "31UGS", ZONES[1]: "32ULB"}[zone],
    )


@pytest.fixture(scope="module")
def zoned(folder: Path, workers: Client) -> dict[tuple[str, str], Path]:
    """Cubes of some bands, the model fills the others; by delivery and zone of their own."""
    tiles = folder / "tiles"
    dates = range(len(TIMES))
    items = {(zone, date): tile_of(zone, tiles, date) for zone in ZONES for date in dates}
    cubes = {}
    for delivered, own in [*((name, ZONES[0]) for name in DELIVERED), ("turns", ZONES[1])]:
        zones = DELIVERED[delivered]
        chosen = [items[zone, date] for date in dates for zone in zones(date)]
        catalogue = write_collection(tiles / f"{delivered}.json", chosen)
        found = search_scenes(catalogue, AROUND, *PERIOD)
        out = cubes[delivered, own] = folder / f"{delivered}-in-{own[-2:]}"
        report = build_cube(
            found, AROUND, out, crs=own, block=64, bands=["B03", "B8A", "B11"], client=workers
        )
        assert report.losses == ()
    return cubes


def at_places(opened: xr.Dataset, zone: str) -> xr.Dataset:
    """What lies at the places that are compared, along ``place``."""
    middle = Transformer.from_crs("EPSG:4326", ZONES[0], always_xy=True).transform(*MIDDLE)
    x, y = (part.ravel() for part in np.meshgrid(middle[0] + AWAY, middle[1] + AWAY))
    x, y = Transformer.from_crs(ZONES[0], zone, always_xy=True).transform(x, y)
    where = {"x": xr.DataArray(x, dims="place"), "y": xr.DataArray(y, dims="place")}
    return opened.sel(where, method="nearest")


@pytest.mark.soak  # two builds
def test_tiles_of_two_zones_show_the_same_ground(
    zoned: dict[tuple[str, str], Path], embedded: Embed
) -> None:
    wanted = PATCHES[:, patch(*np.meshgrid(AWAY, AWAY)).ravel()]
    expected = at_places(embedded(zoned["31", ZONES[0]]), ZONES[0])
    for (delivered, zone), cube in zoned.items():
        opened = open_cube(cube)[S2]
        assert str(opened["data"].rio.crs) == zone
        assert len(opened["time"]) == len(TIMES)
        values = at_places(opened.to_dataset()[["data"]], zone)["data"].transpose("band", ...)
        for band in values.values:
            np.testing.assert_allclose(
                band, np.where(wanted == 0, np.nan, wanted * 1e-4), rtol=0, atol=1e-6
            )
        if (delivered, zone) != ("31", ZONES[0]):
            assert_one_meaning(at_places(embedded(cube), zone), expected)
