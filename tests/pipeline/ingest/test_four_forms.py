"""One acquisition in the forms of the four sources gives the same reflectance, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.env
from distributed import Client

from terralatent.catalogs.documents.serve import serving
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.item import constellation
from terralatent.catalogs.items.scaling import ScalingError, read_scaling
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS, with_offsets
from terralatent.catalogs.sources.sources import SOURCES, Offer, Source
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.store.repository import Store
from tests.made.catalogue import optical, region
from tests.made.recorded import (
    COPERNICUS,
    EARTH_SEARCH,
    EARTH_SEARCH_C1,
    PC,
    PC_OLD,
    changed,
    every_recorded,
    moved,
    recorded,
    write_bands,
    write_items,
)
from tests.servers.file_server import KEY, Trouble, serving_files

S2 = SENSORS["sentinel-2-l2a"]
MAY = ("2018-05-01", "2018-05-31")
REAL = ("2017-08-01", "2018-11-30")

BUCKET = """
[sources.data-space]
like = "copernicus"
where = "items"
hosts = ["s3://eodata"]
buckets = [{{ name = "eodata", endpoint = "{url}", path_style = true, keys = ["CDSE"] }}]
"""


@pytest.fixture(scope="module")
def numbers() -> dict[str, np.ndarray]:
    """Digital numbers without offset, a tenth of them no data in any band."""
    rng = np.random.default_rng(11)
    bands = optical(rng)
    lost = rng.random((20, 20)) < 0.1
    for pixels in bands.values():
        pixels[lost.repeat(pixels.shape[0] // 20, 0).repeat(pixels.shape[0] // 20, 1)] = 0
    return bands


@pytest.fixture(scope="module")
def truth(numbers: dict[str, np.ndarray]) -> np.ndarray:
    """What the cube has to hold: 1000 more than the digital number, 0 for no data."""
    fine = [numbers[band].repeat(40 // numbers[band].shape[0], 0) for band in S2.bands]
    wide = np.stack([pixels.repeat(40 // pixels.shape[1], 1) for pixels in fine]).astype(int)
    return np.where(wide == 0, 0, wide + 1000)


def built(scenes: Any, out: Path, workers: Client) -> np.ndarray:
    report = build_cube(scenes, region(), out, block=40, client=workers)
    assert report.losses == ()
    (data,) = np.asarray(Store.of(out).group()["sentinel-2-l2a/data"][...])
    return data


FORMS = {PC: 1000, PC_OLD: 0, EARTH_SEARCH: 0, EARTH_SEARCH_C1: 1000}


@pytest.mark.parametrize("form", FORMS)
def test_over_http_each_form_gives_the_same_pixels(
    form: str,
    numbers: dict[str, np.ndarray],
    truth: np.ndarray,
    workers: Client,
    tmp_path: Path,
) -> None:
    hrefs = write_bands(tmp_path / "files" / "tiles", numbers, raised=FORMS[form])
    write_items(tmp_path / "files", [moved(form, hrefs)])
    with serving(tmp_path / "files") as url:
        searched = search_scenes(url, region(), *MAY)
        np.testing.assert_array_equal(built(searched, tmp_path / "cube", workers), truth)


def test_jpeg_2000_of_a_store_with_keys_gives_the_same_pixels(
    numbers: dict[str, np.ndarray],
    truth: np.ndarray,
    workers: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with rasterio.env.Env() as env:
        assert "JP2OpenJPEG" in env.drivers(), "rasterio is built without JPEG 2000"
    folder = tmp_path / "store" / "eodata" / "tile"
    paths = write_bands(folder, numbers, jp2=True, raised=1000)
    hrefs = {band: f"s3://eodata/tile/{Path(path).name}" for band, path in paths.items()}
    write_items(tmp_path / "items", [moved(COPERNICUS, hrefs)])
    own = tmp_path / "own.toml"
    with serving_files(tmp_path / "store", tmp_path / "log", Trouble(key=KEY)) as store:
        own.write_text(BUCKET.format(url=store.url))
        searched = search_scenes("data-space", region(), *MAY, described=[own])
        for name in ("CDSE_ACCESS_KEY_ID", "CDSE_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(InputError, match="s3://eodata: set CDSE_ACCESS_KEY_ID and CDSE_SEC"):
            build_cube(searched, region(), tmp_path / "none", client=workers)
        assert not (tmp_path / "none").exists()
        assert store.requests == []

        monkeypatch.setenv("CDSE_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("CDSE_SECRET_ACCESS_KEY", "not-to-be-shown")
        np.testing.assert_array_equal(built(searched, tmp_path / "cube", workers), truth)
        requests = store.requests

    assert {request.key for request in requests} == {KEY}
    assert all(request.path.startswith("/eodata/tile/") for request in requests)
    stored = b"".join(
        path.read_bytes() for path in (tmp_path / "cube").rglob("*") if path.is_file()
    )
    assert KEY.encode() not in stored
    assert b"not-to-be-shown" not in stored


# -- what an item says, and what its digital numbers must be for it to be true ---------------------


BASELINES = ("00.01", "02.12", "03.01", "04.00", "05.11")

# Who writes files and items: the flag, the offset beside the bands, and whether digital numbers are
# 1000 higher, of a scene that ESA made 1000 higher or not.
WRITERS: dict[str, Callable[[bool], tuple[bool | None, float | None, bool]]] = {
    "as ESA made it, bands silent": lambda higher: (None, None, higher),
    "as ESA made it, stated beside bands": lambda higher: (None, -0.1 if higher else 0.0, higher),
    "Earth Search, taken off": lambda higher: (True, -0.1, False),
    "Earth Search, left": lambda higher: (False, -0.1, higher),
    "taken off, bands silent": lambda higher: (True, None, False),
    "left, bands silent": lambda higher: (False, None, higher),
}


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("writer", WRITERS)
def test_the_offset_is_applied_once_and_never_twice(writer: str, baseline: str) -> None:
    flag, stated, higher = WRITERS[writer](baseline in ("04.00", "05.11"))
    item = stating(flag, baseline, stated)
    scaling = read_scaling(item, S2, S2.asset_keys(item["assets"]))
    number = 2345 + (1000 if higher else 0)
    assert scaling.scale * number + scaling.offset == pytest.approx(0.2345)
    assert scaling.offset_from


@pytest.mark.parametrize("flag", [False, None])
def test_without_a_baseline_the_word_beside_the_bands_counts(flag: bool | None) -> None:
    item = stating(flag, None, -0.1)
    assert read_scaling(item, S2, S2.asset_keys(item["assets"])).offset == -0.1
    item = stating(flag, None, None)
    with pytest.raises(
        ScalingError, match=r'neither an offset .*offsets=."sentinel-2-l2a": NUMBER'
    ):
        read_scaling(item, S2, S2.asset_keys(item["assets"]))


def stating(flag: bool | None, baseline: str | None, stated: float | None) -> dict[str, Any]:
    item = changed(
        recorded(EARTH_SEARCH),
        earthsearch__boa_offset_applied=flag,
        s2__processing_baseline=baseline,
    )
    for asset in item["assets"].values():
        band = {"nodata": 0, "data_type": "uint16", "scale": 1e-4}
        asset["raster:bands"] = [band if stated is None else {**band, "offset": stated}]
    return item


@pytest.mark.parametrize(
    ("name", "offset", "who"),
    [
        (PC, -0.1, "baseline 05.10"),
        (PC_OLD, 0.0, "baseline 02.12"),
        ("planetary-computer/sentinel-2-l2a-04.00", -0.1, "baseline 04.00"),
        (EARTH_SEARCH, 0.0, "taken off"),
        (EARTH_SEARCH_C1, -0.1, "bands"),
        (COPERNICUS, -0.1, "bands"),
    ],
)
def test_every_recorded_item_tells_its_offset_and_who_told_it_is_known(
    name: str, offset: float, who: str
) -> None:
    item = recorded(name)
    scaling = read_scaling(item, S2, S2.asset_keys(item["assets"]))
    assert (scaling.scale, scaling.offset, scaling.nodata) == (1e-4, offset, 0.0)
    assert scaling.offset_from == who


def test_an_item_that_tells_nothing_is_refused_by_name_until_a_user_states_it(
    numbers: dict[str, np.ndarray],
    truth: np.ndarray,
    workers: Client,
    tmp_path: Path,
) -> None:
    hrefs = write_bands(tmp_path / "files" / "tiles", numbers)
    silent = changed(moved(PC, hrefs, item_id="silent"), s2__processing_baseline=None)
    folder = write_items(tmp_path / "files", [silent])
    with pytest.raises(InputError, match=r"the first, silent: it states neither an offset"):
        search_scenes(folder, region(), *MAY)

    searched = search_scenes(folder, region(), *MAY, offsets={"sentinel-2-l2a": 0.0})
    np.testing.assert_array_equal(built(searched, tmp_path / "cube", workers), truth)
    cube = Store.of(tmp_path / "cube").group()
    assert list(cube["sentinel-2-l2a/offset_from"][:]) == ["stated"]
    assert list(cube["items/offset_from"][:]) == ["stated"]
    assert list(cube["items/offset"][:]) == [0.0]

    searched.to_parquet(tmp_path / "scenes.parquet")
    again = type(searched).from_parquet(tmp_path / "scenes.parquet")
    assert again.acquisitions("sentinel-2-l2a")[0].offset_from == "stated"


def test_what_an_item_tells_wins_over_what_a_user_states() -> None:
    item = recorded(COPERNICUS)
    (stated,) = with_offsets([S2], {"sentinel-2-l2a": 0.5})
    seen = SOURCES["copernicus"].adapt(stated)
    scaling = read_scaling(item, seen, seen.asset_keys(item["assets"]))
    assert (scaling.offset, scaling.offset_from) == (-0.1, "bands")


def test_a_source_may_say_which_words_of_its_items_count() -> None:
    offer = Offer("sentinel-2-l2a", ("sentinel-2-l2a",), offset=0.0, believe=())
    seen = Source("liar", "https://liar.example", sensors=(offer,)).adapt(S2)
    item = recorded(COPERNICUS)
    assert read_scaling(item, seen, seen.asset_keys(item["assets"])).offset == 0.0


@pytest.mark.parametrize("name", every_recorded())
def test_every_recorded_item_has_all_bands_under_its_own_names(name: str) -> None:
    item = recorded(name)
    sensors = [s for s in SENSORS.values() if s.constellation == constellation(item)]
    assert sensors
    assert set(sensors[0].asset_keys(item["assets"])) == set(sensors[0].bands)


@pytest.mark.parametrize("name", [name for name in every_recorded() if name.endswith("-grd")])
def test_scenes_without_calibration_are_refused_by_name(name: str) -> None:
    item = recorded(name)
    sensor = SENSORS["sentinel-1-asc"]
    with pytest.raises(ScalingError, match="calibrated"):
        read_scaling(item, sensor, sensor.asset_keys(item["assets"]))


@pytest.mark.parametrize("source", ["earth-search", "copernicus"])
def test_a_sensor_that_a_source_has_in_no_usable_form_is_refused_before_the_search(
    source: str,
) -> None:
    with pytest.raises(InputError, match=f"{source} has sentinel-1-asc only as sentinel-1-grd"):
        search_scenes(source, region(), *MAY, ["sentinel-1-asc"])
    nothing = replace(SOURCES[source], sensors=())
    with pytest.raises(InputError, match=f"{source} has no sentinel-1-asc"):
        search_scenes(nothing, region(), *MAY, ["sentinel-1-asc"])


@pytest.mark.soak
def test_the_histogram_has_no_jump_between_baselines(
    scenes: Path, workers: Client, tmp_path: Path
) -> None:
    """On the real scenes: dates of baseline 05.00 beside the dates around them."""
    searched = search_scenes(scenes, scenes / "region.geojson", *REAL, ["sentinel-2-l2a"])
    build_cube(searched, scenes / "region.geojson", tmp_path / "cube", block=64, client=workers)
    dates = open_cube(tmp_path / "cube")["sentinel-2-l2a"]
    dates = dates.isel(time=dates["clear"].mean(("y", "x")).values > 0.3)
    median = dates["data"].median(("y", "x")).values
    raised = dates["offset"].values == -0.1
    assert 3 <= raised.sum() < len(raised) - 10
    assert set(dates["baseline"].values[raised]) == {"05.00"}
    steps = np.abs(np.diff(median, axis=0))
    across = raised[1:] != raised[:-1]
    # An offset applied twice or not at all makes a step of 0.1 in every band; land does not.
    usual = np.quantile(steps[~across], 0.9, axis=0)
    assert (np.median(steps[across], axis=0) <= usual).all()
    assert np.median(steps[across].min(axis=1)) < 0.02
