"""A Dataset of anybody's, as a cube opens that of a sensor: band names, units, clear sky, CRS.

What xarray was loaded with is not asked: odc-stac, stackstac, xcube or by hand. Nothing is guessed
in silence: what a Dataset does not say is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import odc.geo.xr  # noqa: F401  (gives .odc)
import pandas as pd
import rioxarray  # noqa: F401  (gives .rio)
import xarray as xr

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.sources.clear import ClearRule
from terralatent.catalogs.sources.sensors import SENSORS, Sensor
from terralatent.pipeline.attributes import writable_attrs
from terralatent.pipeline.cube.units import check_units

__all__ = ["FILL", "MASKED", "as_sensor", "require_sensor_dataset", "sky_of"]

log = logging.getLogger(__name__)

FILL = -32768
"""What stands for no value; none of a sensor is so low."""

CLEAR, MASKED = 1, 2
"""Of the sky over a pixel; 0: nothing is known of it, or there is no data."""

CHECKED = 64
"""Pixels along y and x that are checked for their units where values are in memory."""

ANGLES = ("incidence", "view:incidence_angle")
"""Coordinates over time that angles of incidence may be given by, in degrees."""

ClearSource: TypeAlias = Mapping[str, Sequence[int] | ClearRule] | xr.DataArray | str | None


def as_sensor(
    data: xr.Dataset | xr.DataArray,
    sensor: str | Sensor,
    *,
    bands: Mapping[str, str] | None = None,
    clear: ClearSource = None,
    scale: float | None = None,
    offset: float | xr.DataArray = 0.0,
    nodata: float | None = None,
    items: Iterable[Any] | None = None,
) -> xr.Dataset:
    """Give a Dataset the form of a sensor's in a cube; lazy where it is. Computes nothing of it.

    Arrays in memory are checked for their units here, lazy ones when they are computed.

    Args:
        data: A variable for each band with dims ``time``, ``y``, ``x`` as odc-stac and xcube give
            them, or one array with a dim ``band`` besides, as stackstac does. Its CRS is known to
            ``.rio`` or ``.odc``; ``time`` is UTC.
        sensor: Name of the sensor, see :data:`terralatent.catalogs.SENSORS`, or a description of
            one's own.
        bands: From the Dataset's names to the sensor's, such as ``{"red": "B04"}``; by default
            names are found as in catalogues.
        clear: Which observations are clear: ``{"SCL": [4, 5, 6, 7]}``, the values of a mask band
            that are, or a :class:`~terralatent.catalogs.sources.clear.ClearRule` of it; a bool
            array (time, y, x), or the name of one. What is not clear masks: the model reads how far
            a pixel is from it. By default the sensor's own rule, where the
            Dataset has its mask band.
        scale: value = number * scale + offset, in the sensor's units. Must be given for integers.
        offset: In the sensor's units; an array over ``time`` where it changed.
        nodata: The number of a missing pixel; by default what the array says, or the sensor.
        items: The STAC items that were loaded: a warning then names the times in which two
            platforms or orbits are merged, whose days and angles differ.

    Returns:
        ``data (time, band, y, x)``, float32 in the sensor's units, NaN where there is no data;
        ``clear (time, y, x)``, bool; ``quality (time, y, x)``, where there is a mask band. As
        :func:`~terralatent.pipeline.cube.opened.open_cube` gives a node, so that ``embed`` and the
        methods of a model take it.

    Raises:
        InputError: If it has no CRS, no ``time`` or one twice, no band of the sensor, two time
            zones, integers without a scale, or numbers that are none of the sensor's units.

    Examples:
        >>> import terralatent as tl
        >>> stored = tl.open_cube("cube", clear=False)["sentinel-2-l2a"]
        >>> loaded = stored["data"].to_dataset("band").assign(SCL=stored["quality"])
        >>> optical = tl.as_sensor(loaded, "sentinel-2-l2a")
        >>> sorted(optical)
        ['clear', 'data', 'quality']
        >>> tl.embed({"sentinel-2-l2a": optical}, dates="2018-03-15")["mean"].shape  # lazy
        (1, 16, 18, 18)
    """
    known = _sensor(sensor)
    stack = data.to_dataset("band") if isinstance(data, xr.DataArray) else data
    stack = _with_utc(_with_axes(stack, known.name), known.name)
    names = _names(stack, known, bands)
    values = xr.concat(
        [_scaled(stack[name], known, scale, offset, nodata) for name in names],
        dim=pd.Index(list(names.values()), name="band"),
        coords="minimal",
        compat="override",
        join="override",
    ).transpose("time", "band", "y", "x")
    values.attrs = {"units": known.units, "long_name": known.title}
    _check_in_memory(values, known)
    variables: dict[str, Any] = {"data": values, **_clear(stack, known, values, clear)}
    angle = next(
        (name for name in ("incidence", "view:incidence_angle") if name in stack.coords), None
    )
    result = xr.Dataset(variables).reset_coords(drop=True)
    result = result.assign_coords(
        {**{name: stack[name].variable for name in ("time", "y", "x")}, "band": [*names.values()]}
    )
    if angle is not None and stack[angle].dims == ("time",):
        result = result.assign_coords(incidence=("time", stack[angle].values.astype(np.float32)))
    result = result.odc.assign_crs(_crs(stack, known.name)).assign_attrs(sensor=known.name)
    if result["data"].odc.geobox is None or not all(map(_is_regular, (result["y"], result["x"]))):
        raise InputError(
            f"{known.name}: x and y of the Dataset are no regular grid; resample it to one geobox."
        )
    for name in result.data_vars:
        result[name].encoding["grid_mapping"] = "spatial_ref"
    if (repeated := result.indexes["time"].duplicated()).any():
        raise InputError(
            f"{known.name}: the time {result['time'].values[repeated][0]} is there twice; drop one "
            "of them."
        )
    if items is not None:
        _warn_of_merged(result["time"].values, items, known.name)
    return result


def require_sensor_dataset(data: xr.Dataset, sensor: str) -> None:
    """Check that a Dataset has the form of :func:`as_sensor`. Reads no pixels.

    Raises:
        InputError: If it has not; says what makes it so.
    """
    if "data" in data and {"time", "band", "y", "x"} == set(data["data"].dims):
        if data["data"].odc.crs is None:
            raise InputError(
                f'{sensor}: the Dataset has no CRS; give it one: ds.rio.write_crs("EPSG:32631").'
            )
        if "units" not in data["data"].attrs:
            raise InputError(
                f"{sensor}: `data` has no attribute `units`; keep attributes, or name them: "
                'ds["data"].attrs["units"] = "1".'
            )
        if not data.sizes["time"]:
            raise InputError(f"{sensor}: the Dataset has no time left; select some.")
        return
    there = ", ".join(str(name) for name in data.data_vars)
    raise InputError(
        f"{sensor}: a Dataset with `data (time, band, y, x)` is wanted, and this has {there}; "
        f'bring it to that form: as_sensor(ds, "{sensor}", bands={{"red": "B04", ...}}, ...).'
    )


def sky_of(data: xr.Dataset) -> xr.DataArray:
    """What is known of the sky over each pixel, uint8 (time, y, x): clear 1, masked 2, else 0.

    Lazy where ``data`` is. What ``where`` left out, in space or time, is as if there were no data.
    """
    observed = data["data"].notnull().any("band").transpose("time", "y", "x")
    if "clear" not in data:
        return observed.astype(np.uint8)
    given = data["clear"].transpose("time", "y", "x")
    clear, known = given, xr.ones_like(given, bool)
    if given.dtype != bool:  # what `where` makes of it
        clear, known = given == 1, given.notnull()
    sky = xr.where(clear & observed, np.uint8(CLEAR), np.uint8(0))
    if "quality" not in data:  # nothing masks but what is not there
        return sky.transpose("time", "y", "x")
    quality = data["quality"]
    masked = ~clear & known & quality.notnull() & (quality != quality.attrs.get("nodata", 0))
    if "outlier" in data:  # masks nothing around it
        masked &= ~(data["outlier"] == 1)
    return xr.where(masked, np.uint8(MASKED), sky).transpose("time", "y", "x")


def _sensor(sensor: str | Sensor) -> Sensor:
    if isinstance(sensor, Sensor):
        return sensor
    if sensor not in SENSORS:
        raise InputError(
            f"There is no sensor {sensor!r}; there are {', '.join(SENSORS)}. Give one of these, or "
            "a Sensor of your own."
        )
    return SENSORS[sensor]


def _with_axes(data: xr.Dataset, sensor: str) -> xr.Dataset:
    """With dims ``y`` and ``x`` by these names, and a ``time``."""
    for axis, others in (("y", ("latitude", "lat")), ("x", ("longitude", "lon"))):
        if axis not in data.dims:
            other = next((name for name in others if name in data.dims), None)
            if other is None:
                raise InputError(
                    f"{sensor}: the Dataset has dims {', '.join(map(str, data.dims))}, and no "
                    f"{axis!r}; rename it: ds.rename(NAME={axis!r})."
                )
            data = data.rename({other: axis})
    if "time" not in data.dims:
        dims = ", ".join(map(str, data.dims))
        raise InputError(
            f"{sensor}: the Dataset has dims {dims}, and no `time`; rename it, "
            'ds.rename(t="time"), or give a single date one: ds.expand_dims(time=[...]).'
        )
    return data


def _with_utc(data: xr.Dataset, sensor: str) -> xr.Dataset:
    """With ``time`` as datetime64 in UTC."""
    times = data["time"].values
    if times.dtype.kind == "M":
        return data
    try:
        stamps = [pd.Timestamp(time) for time in times]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{sensor}: `time` holds {times.dtype} values such as {times[:1]}, which are no dates."
        ) from error
    zones = {str(stamp.tz) for stamp in stamps}
    if len(zones) > 1:
        raise InputError(
            f"{sensor}: `time` has the time zones {' and '.join(sorted(zones))}; bring it to one: "
            "ds.assign_coords(time=pd.to_datetime(ds.time, utc=True).tz_localize(None))."
        )
    utc = [stamp.tz_convert("UTC").tz_localize(None) if stamp.tz else stamp for stamp in stamps]
    return data.assign_coords(time=np.array(utc, "datetime64[us]"))


def _names(data: xr.Dataset, sensor: Sensor, bands: Mapping[str, str] | None) -> dict[str, str]:
    """The Dataset's name of each band that it has, to the sensor's, in the sensor's order."""
    if bands is None:
        there = {str(name): None for name in data.data_vars}
        found = {key: band for band, key in sensor.asset_keys(there).items()}
    else:
        found = dict(bands)
        if lacking := [name for name in found if name not in data]:
            raise InputError(
                f"{sensor.name}: the Dataset has no {', '.join(lacking)}; it has "
                f"{', '.join(map(str, data.data_vars))}. Mend bands=."
            )
        if unknown := [band for band in found.values() if band not in sensor.bands]:
            raise InputError(
                f"{sensor.name} has no band {', '.join(unknown)}; it has "
                f"{', '.join(sensor.bands)}. Mend bands=."
            )
    if not found:
        raise InputError(
            f"{sensor.name}: none of {', '.join(map(str, data.data_vars))} is one of its bands "
            f"{', '.join(sensor.bands)}; say which is which: "
            f'bands={{"{next(iter(data.data_vars), "red")}": "{sensor.bands[0]}"}}.'
        )
    return dict(sorted(found.items(), key=lambda pair: sensor.bands.index(pair[1])))


def _scaled(
    band: xr.DataArray,
    sensor: Sensor,
    scale: float | None,
    offset: float | xr.DataArray,
    nodata: float | None,
) -> xr.DataArray:
    """A band in the sensor's units, float32, NaN where there is no data."""
    if band.dtype.kind in "iu" and scale is None:
        raise InputError(
            f"{sensor.name}: {band.name} holds integers ({band.dtype}), and nothing says what they "
            f"mean in {sensor.units!r}; give scale= and offset=, such as scale={sensor.scale:g}, "
            f"offset={sensor.offset:g}."
        )
    missing = nodata
    if missing is None:
        said = (band.attrs.get("nodata"), band.attrs.get("_FillValue"), band.rio.nodata)
        missing = next((value for value in said if value is not None), sensor.nodata)
    values = band.astype(np.float32)
    if missing is not None and np.isfinite(missing):
        values = values.where(band != missing)
    if scale is not None:
        values = values * np.float32(scale)
    if not isinstance(offset, xr.DataArray) and offset == 0.0:
        return values
    return (values + xr.DataArray(offset).astype(np.float32)).transpose(*band.dims)


def _clear(
    data: xr.Dataset, sensor: Sensor, values: xr.DataArray, clear: ClearSource
) -> dict[str, xr.DataArray]:
    """The variables ``clear``, and ``quality`` where there is a mask band."""
    observed = values.notnull().any("band")
    if isinstance(clear, str):
        if clear not in data:
            raise InputError(f"{sensor.name}: the Dataset has no {clear!r} to take as clear=.")
        clear = data[clear]
    if isinstance(clear, xr.DataArray):
        if clear.dtype != bool:
            raise InputError(
                f"{sensor.name}: clear= holds {clear.dtype}; give a bool array, or the values of a "
                f'mask band that are clear: clear={{"{clear.name or "SCL"}": [4, 5, 6, 7]}}.'
            )
        clear = clear.transpose("time", "y", "x")
        quality = xr.where(clear, np.uint8(CLEAR), np.uint8(MASKED))
        about = ClearRule(codes=(CLEAR,)).to_json()
        quality.attrs = writable_attrs({"nodata": 0, "clear_rule": about})
        return {"clear": clear, "quality": quality}
    given = {name: rule for name, rule in (clear or {}).items()}
    if not given:
        for band in sensor.quality:
            if name := next((key for key in band.keys if key in data), None):
                given = {name: band.rule}
                break
    if not given:
        if sensor.quality:
            log.warning(
                "%s: there is no mask band (%s); every value counts as clear. Give clear=.",
                sensor.name, " or ".join(band.asset for band in sensor.quality),
            )  # fmt: skip
        return {"clear": observed}
    (name, rule), *more = given.items()
    if more or name not in data:
        raise InputError(
            f"{sensor.name}: clear= names {', '.join(given)}; give one mask band of "
            f"{', '.join(map(str, data.data_vars))}."
        )
    own = (
        rule if isinstance(rule, ClearRule) else ClearRule(codes=tuple(int(code) for code in rule))
    )
    fills = {key: band.fill_value for band in sensor.quality for key in band.keys}
    quality = data[name].transpose("time", "y", "x")
    nodata = fills.get(name, quality.attrs.get("nodata", 0))
    quality.attrs = writable_attrs({"nodata": nodata, "clear_rule": own.to_json()})
    seen = xr.apply_ufunc(own, quality.fillna(nodata) if quality.dtype.kind == "f" else quality,
                          dask="parallelized", output_dtypes=[bool])  # fmt: skip
    return {"clear": seen & (quality != nodata), "quality": quality}


def _is_regular(axis: xr.DataArray) -> bool:
    """Whether steps are the same, to a hundredth."""
    steps = np.diff(axis.values.astype(np.float64))
    return bool(np.allclose(steps, steps.mean(), rtol=0.01, atol=0)) if steps.size else True


def _crs(data: xr.Dataset, sensor: str) -> Any:
    crs = data.odc.crs or data.rio.crs
    if crs is None and "epsg" in data.coords:  # as stackstac says it
        crs = f"EPSG:{int(data['epsg'])}"
    if crs is None:
        raise InputError(
            f'{sensor}: the Dataset has no CRS; give it one: ds.rio.write_crs("EPSG:32631").'
        )
    return crs


def _check_in_memory(values: xr.DataArray, sensor: Sensor) -> None:
    if values.chunks is None:
        thin = values.isel(y=slice(None, CHECKED), x=slice(None, CHECKED))
        check_units(thin.values, sensor.name, sensor.units, "the Dataset")


def _warn_of_merged(times: np.ndarray, items: Iterable[Any], sensor: str) -> None:
    """Warn of times in which acquisitions of two platforms or orbits are merged.

    An item belongs to the last time that is not after it, as groups by day are named by their
    first item.
    """
    starts = np.sort(times.astype("datetime64[us]"))
    merged: dict[np.datetime64, set[tuple[str, str]]] = {}
    for item in items:
        sensed = np.datetime64(
            pd.Timestamp(item.datetime).tz_convert("UTC").tz_localize(None), "us"
        )
        at = int(np.searchsorted(starts, sensed, side="right")) - 1
        if at < 0 or sensed - starts[at] > np.timedelta64(1, "D"):
            continue
        said = item.properties
        key = (str(said.get("platform", "")), str(said.get("sat:relative_orbit", "")))
        merged.setdefault(starts[at], set()).add(key)
    if several := sorted(time for time, passes in merged.items() if len(passes) > 1):
        what = " and ".join(" ".join(one).strip() for one in sorted(merged[several[0]]))
        log.warning(
            "%s: %d of %d times merge acquisitions of several platforms or orbits, such as %s "
            "(%s); load each on its own date, grouped by platform and orbit.",
            sensor, len(several), len(starts), str(several[0])[:10], what,
        )  # fmt: skip
