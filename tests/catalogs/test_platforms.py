"""Every platform of a sensor gives scenes with the same bands, whatever a catalogue calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from terralatent.catalogs.scenes.acquisition import Acquisition
from terralatent.catalogs.scenes.passes import group_items
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import build_cube
from tests.made.catalogue import SIDE, add_landsat, region
from tests.made.recorded import changed, recorded

LANDSAT = "landsat-c2-l2"
LANDSAT_C2 = SENSORS[LANDSAT]
FORMS = {
    "planetary-computer/sentinel-2-l2a-05.10": "sentinel-2-l2a",
    "earth-search/sentinel-2-c1-l2a": "sentinel-2-l2a",
    "copernicus/sentinel-2-l2a": "sentinel-2-l2a",
    "planetary-computer/sentinel-1-rtc-1": "sentinel-1-desc",
    "planetary-computer/landsat-c2-l2-1": LANDSAT,
    "usgs/landsat-c2l2-sr-7": LANDSAT,
    "usgs/landsat-c2l2-sr-8": LANDSAT,
}
WRITTEN = {
    "sentinel-1": {f"sentinel-1{u}": (f"SENTINEL-1{u.upper()}", f"sentinel1{u}") for u in "abc"},
    "sentinel-2": {f"sentinel-2{u}": (f"Sentinel-2{u.upper()}", f"s2{u}") for u in "abc"},
    "landsat": {f"landsat-{n}": (f"LANDSAT_{n}", f"Landsat {n}", f"landsat{n}") for n in (7, 8, 9)},
}
"""The platforms of each constellation, and how they are written elsewhere."""

IDS = {
    "landsat-7": "LE07_L2SP_198025_20180501_20200829_02_T1",
    "landsat-8": "LC08_L2SP_198025_20180501_20200829_02_T1",
    "landsat-9": "LC09_L2SP_198025_20230501_20230829_02_T1",
    "sentinel-1c": "S1C_IW_GRDH_1SDV_20250501T045904_20250501T045929_002137_0047B1_rtc",
    "sentinel-2c": "S2C_MSIL2A_20250330T100051_N0511_R122_T33UWP_20250330T145914",
}
"""Ids of items that state no platform."""

CLEAR, FILL, CIRRUS = 21824, 1, 21824 | 1 << 2
"""Values of ``qa_pixel``."""


def only(item: dict[str, Any]) -> Acquisition:
    """The acquisition that the item alone makes."""
    acquisitions, fates = group_items([item], tuple(SENSORS.values()))
    assert [fate.fate for fate in fates] == ["used"], fates
    (acquisition,) = (one for own in acquisitions.values() for one in own)
    return acquisition


def bands(acquisition: Acquisition) -> tuple[str, ...]:
    """Those that its item has, in the sensor's order."""
    sensor = SENSORS[acquisition.sensor]
    return tuple(band for band in sensor.bands if band in acquisition.items[0]["assets"])


@pytest.mark.parametrize("form", FORMS)
def test_an_item_of_each_platform_is_used_with_all_bands(form: str) -> None:
    sensor = SENSORS[FORMS[form]]
    for platform, spellings in WRITTEN[sensor.constellation].items():
        for written in (platform, *spellings):
            acquisition = only(changed(recorded(form), platform=written))
            assert (acquisition.sensor, acquisition.platform) == (sensor.name, platform)
            assert bands(acquisition) == sensor.bands


@pytest.mark.parametrize("platform", IDS)
def test_an_item_that_states_no_platform_has_that_of_its_id(platform: str) -> None:
    (form,) = [
        form
        for form in ("landsat-c2-l2-1", "sentinel-1-rtc-1", "sentinel-2-l2a-05.10")
        if SENSORS[FORMS[f"planetary-computer/{form}"]].constellation in platform
    ]
    item = changed(recorded(f"planetary-computer/{form}"), platform=None)
    assert only(item | {"id": IDS[platform]}).platform == platform


def test_a_landsat_band_is_never_found_by_its_number() -> None:
    """Band 4 is red on Landsat 8 and near infrared on Landsat 7."""
    item = changed(recorded("usgs/landsat-c2l2-sr-7"))
    asset, mask = item["assets"]["red"], item["assets"]["qa_pixel"]
    for keys in ("SR_B{}", "B{}", "b{}", "band{}"):
        assets = {keys.format(number): asset for number in (1, 2, 3, 4, 5, 7)}
        _, (fate,) = group_items([item | {"assets": assets | {"qa_pixel": mask}}], (LANDSAT_C2,))
        assert (fate.fate, "no asset for" in fate.reason) == ("dropped", True)


def test_gaps_of_landsat_7_are_no_data_in_a_cube_of_several_landsats(
    workers: Client, tmp_path: Path
) -> None:
    """Since its scan line corrector failed in 2003, wedges of each scene are fill."""
    rng = np.random.default_rng(3)
    names = ("blue", "green", "red", "nir08", "swir16", "swir22")
    gap = (np.arange(SIDE) % 10 < 3)[:, None].repeat(SIDE, 1)
    values = {}
    for number in (7, 8, 9):
        pixels = {name: rng.integers(8000, 20000, (SIDE, SIDE)).astype(np.uint16) for name in names}
        quality = np.full((SIDE, SIDE), CLEAR, np.uint16)
        if number == 7:
            quality[gap] = FILL
            pixels = {name: np.where(gap, 0, own).astype(np.uint16) for name, own in pixels.items()}
        else:  # Landsat 7 measures no cirrus
            quality[:, :4] = CIRRUS
        values[number] = np.stack(list(pixels.values())) * 2.75e-5 - 0.2
        values[number][:, (quality == FILL) | (quality == CIRRUS)] = np.nan
        add_landsat(
            tmp_path / "files", f"2022-05-0{number}T10:30:00Z", pixels | {"qa_pixel": quality},
            name=f"L{number}", platform=f"landsat-{number}",
        )  # fmt: skip
    scenes = search_scenes(tmp_path / "files", region(), "2022-05-01", "2022-05-31")
    report = build_cube(scenes, region(), tmp_path / "cube", block=SIDE, client=workers)
    assert report.losses == ()
    opened = open_cube(tmp_path / "cube")[LANDSAT].ds
    assert opened["platform"].values.tolist() == ["landsat-7", "landsat-8", "landsat-9"]
    assert tuple(opened["band"].values) == LANDSAT_C2.bands
    half_a_step = LANDSAT_C2.packing.scale_factor / 2
    for number, data in zip((7, 8, 9), opened["data"].values, strict=True):
        np.testing.assert_allclose(data, values[number], atol=1.01 * half_a_step)
