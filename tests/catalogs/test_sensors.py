"""Laws of sensors, clear-sky rules and scaling, on items in the form of several catalogues."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.scaling import Scaling, ScalingError, read_scaling
from terralatent.catalogs.sources.clear import ClearRule
from terralatent.catalogs.sources.sensors import SENSORS, Sensor, pick_sensors

DATA = Path(__file__).parents[1] / "data"
S2 = SENSORS["sentinel-2-l2a"]


def kept(name: str) -> dict[str, Any]:
    """An item in a catalogue's own form, cut down to what is read."""
    item: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return item


def scaling(item: dict[str, Any], sensor: Sensor = S2) -> Scaling:
    return read_scaling(item, sensor, sensor.asset_keys(item["assets"]))


@pytest.mark.parametrize("sensor", SENSORS.values(), ids=SENSORS)
def test_a_sensor_is_a_value(sensor: Sensor) -> None:
    again = pickle.loads(pickle.dumps(sensor))
    assert again == sensor
    assert hash(again) == hash(sensor)
    keys = [key for band, more in zip(sensor.bands, sensor.keys, strict=True) for key in more]
    assert len(set(keys)) == len(keys), "an asset key may mean one band only"


@pytest.mark.parametrize("sensor", SENSORS.values(), ids=SENSORS)
def test_packing_keeps_the_range_that_the_sensor_has(sensor: Sensor) -> None:
    low, high = (-0.09, 1.5) if sensor.units == "1" else (-45.0, 20.0)
    limits = np.iinfo(sensor.packing.dtype)
    for value in (low, high):
        packed = round((value - sensor.packing.add_offset) / sensor.packing.scale_factor)
        assert limits.min <= packed <= limits.max
        assert packed != sensor.packing.fill_value


@pytest.mark.parametrize(
    ("name", "sensor"),
    [
        ("planetary-computer-sentinel-2-l2a", "sentinel-2-l2a"),
        ("earth-search-sentinel-2-l2a", "sentinel-2-l2a"),
        ("data-space-sentinel-2-l2a", "sentinel-2-l2a"),
        ("planetary-computer-sentinel-1-rtc", "sentinel-1-asc"),
        ("planetary-computer-landsat-c2-l2", "landsat-c2-l2"),
    ],
)
def test_every_band_is_found_under_the_names_of_each_catalogue(name: str, sensor: str) -> None:
    assets = kept(name)["assets"]
    keys = SENSORS[sensor].asset_keys(assets)
    assert tuple(keys) == SENSORS[sensor].bands
    assert len(set(keys.values())) == len(keys)
    masks = SENSORS[sensor].quality
    assert not masks or any(key in assets for mask in masks for key in mask.keys)


def test_unknown_sensors_and_bands_are_named() -> None:
    with pytest.raises(InputError, match=r"sentinel-9; known are sentinel-2-l2a, sentinel-1-asc"):
        pick_sensors(["sentinel-9"])
    with pytest.raises(InputError, match="has no band B99; it has B02"):
        S2.select(["B02", "B99"])
    assert S2.select(["B04", "B02"]) == ("B02", "B04")
    assert [s.name for s in pick_sensors(["landsat-c2-l2", "sentinel-2-l2a"])] == [
        "sentinel-2-l2a",
        "landsat-c2-l2",
    ]


# Values of the real scenes, read by hand from the handbook's table of bits.
COLLECTION_1 = {322: True, 324: True, 0: False, 1: False, 480: False, 328: False, 352: False,
                416: False, 834: False, 898: False, 386: False, 336: False}  # fmt: skip
COLLECTION_2 = {21824: True, 21952: True, 1: False, 22280: False, 23888: False, 21826: False,
                30048: False, 54596: False}  # fmt: skip


@pytest.mark.parametrize(
    ("sensor", "asset", "table"),
    [
        ("sentinel-2-l2a", "SCL", {code: code in (4, 5, 6, 7) for code in range(12)}),
        ("landsat-c2-l2", "pixel_qa", COLLECTION_1),
        ("landsat-c2-l2", "qa_pixel", COLLECTION_2),
    ],
)
def test_clear_sky_by_the_handbook(sensor: str, asset: str, table: dict[int, bool]) -> None:
    band = SENSORS[sensor].quality_band(asset)
    values = np.array([list(table)], dtype=band.dtype)
    assert band.rule(values).tolist() == [list(table.values())]
    assert not band.rule(np.array(band.fill_value)), "no data is not clear"


BITS = st.lists(st.integers(0, 15), max_size=4, unique=True).map(tuple)
RULES = st.one_of(
    st.builds(ClearRule, codes=st.lists(st.integers(0, 255), min_size=1).map(tuple)),
    st.builds(
        ClearRule,
        any_bits=BITS,
        no_bits=BITS.filter(bool),
        not_together=st.lists(BITS.filter(bool), max_size=2).map(tuple),
    ),
    st.builds(ClearRule, at_most=st.integers(0, 255)),
)


@settings(deadline=None)
@given(RULES, st.lists(st.integers(0, 65535), min_size=1, max_size=20))
def test_a_rule_read_back_is_the_rule_written(rule: ClearRule, values: list[int]) -> None:
    again = ClearRule.from_json(json.loads(json.dumps(rule.to_json())))
    assert again == rule
    quality = np.array(values, dtype=np.uint16)
    assert rule(quality).tolist() == [bool(again(quality[i])) for i in range(len(values))]


def test_a_rule_that_says_nothing_or_both_is_refused() -> None:
    for fields in ({}, {"codes": (4,), "no_bits": (1,)}, {"codes": (4,), "at_most": 0}):
        with pytest.raises(ValueError, match="either codes or bits or at_most, got"):
            ClearRule(**fields)
    with pytest.raises(ValueError, match=r"no fields \['bits'\]"):
        ClearRule.from_json({"bits": [1]})
    for content in ({"codes": 4}, {"at_most": [4]}):
        with pytest.raises(ValueError, match="lists of integers, and at_most one integer"):
            ClearRule.from_json(content)
    assert ClearRule(at_most=2)(np.arange(5)).tolist() == [True, True, True, False, False]


def test_the_item_in_each_catalogues_form() -> None:
    assert scaling(kept("planetary-computer-sentinel-2-l2a")) == Scaling(1e-4, 0.0, 0.0)
    assert scaling(kept("data-space-sentinel-2-l2a")) == Scaling(1e-4, -0.1, 0.0)
    # It repeats the offset that it has already taken off.
    assert scaling(kept("earth-search-sentinel-2-l2a")) == Scaling(1e-4, 0.0, 0.0)
    landsat = scaling(kept("planetary-computer-landsat-c2-l2"), SENSORS["landsat-c2-l2"])
    assert landsat == Scaling(2.75e-5, -0.2, 0.0)
    radar = scaling(kept("planetary-computer-sentinel-1-rtc"), SENSORS["sentinel-1-asc"])
    assert radar == Scaling(1.0, 0.0, -32768.0)


@pytest.mark.parametrize(
    ("baseline", "offset"), [("02.12", 0.0), ("03.01", 0.0), ("04.00", -0.1), ("05.11", -0.1)]
)
@pytest.mark.parametrize("day", ["2016-01-01T00:00:00Z", "2026-01-01T00:00:00Z"])
def test_a_silent_item_follows_its_baseline_and_never_its_date(
    baseline: str, offset: float, day: str
) -> None:
    item = kept("planetary-computer-sentinel-2-l2a")
    item["properties"] |= {"s2:processing_baseline": baseline, "datetime": day}
    assert scaling(item).offset == offset


@pytest.mark.parametrize("form", ["raster:bands", "bands", "bands-raster", "asset", "asset-raster"])
@pytest.mark.parametrize("offset", [0.0, -0.1])
def test_the_items_own_word_wins_over_its_baseline(form: str, offset: float) -> None:
    item = kept("planetary-computer-sentinel-2-l2a")
    item["properties"]["s2:processing_baseline"] = "02.12" if offset else "05.09"
    stated = {"scale": 1e-4, "offset": offset, "nodata": "nan"}
    prefixed = {"raster:scale": 1e-4, "raster:offset": offset, "nodata": "nan"}
    forms = {
        "raster:bands": {"raster:bands": [stated]},
        "bands": {"bands": [stated]},
        "bands-raster": {"bands": [prefixed]},
        "asset": stated,
        "asset-raster": prefixed,
    }
    for asset in item["assets"].values():
        asset.update(forms[form])
    assert scaling(item) == Scaling(1e-4, offset, None)


def test_an_item_that_says_neither_is_refused() -> None:
    item = kept("planetary-computer-sentinel-2-l2a")
    del item["properties"]["s2:processing_baseline"]
    with pytest.raises(ScalingError, match="neither an offset nor a processing baseline"):
        scaling(item)
    for asset in item["assets"].values():
        asset["raster:bands"] = [{"scale": 1e-4}]
    with pytest.raises(ScalingError, match="neither an offset"):
        scaling(item)


@pytest.mark.parametrize("value", ["much", math.inf, [1], {"a": 1}])
def test_a_scale_that_is_no_number_is_refused(value: Any) -> None:
    item = kept("planetary-computer-landsat-c2-l2")
    item["assets"]["blue"]["raster:bands"][0]["scale"] = value
    with pytest.raises(ScalingError, match=r"scale is .*number"):
        scaling(item, SENSORS["landsat-c2-l2"])


def test_bands_that_differ_are_refused() -> None:
    item = kept("planetary-computer-landsat-c2-l2")
    item["assets"]["red"] = copy.deepcopy(item["assets"]["lwir11"])
    with pytest.raises(ScalingError, match="differ in scale"):
        scaling(item, SENSORS["landsat-c2-l2"])


def test_radar_without_calibration_is_refused() -> None:
    item = kept("planetary-computer-sentinel-1-rtc")
    for asset in item["assets"].values():
        asset["raster:bands"] = [{"data_type": "uint16"}]
    with pytest.raises(ScalingError, match="uncalibrated"):
        scaling(item, SENSORS["sentinel-1-asc"])
    item = kept("planetary-computer-sentinel-1-rtc") | {"collection": "sentinel-1-grd"}
    with pytest.raises(ScalingError, match="not calibrated"):
        scaling(item, SENSORS["sentinel-1-asc"])
