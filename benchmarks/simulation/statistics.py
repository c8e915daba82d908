"""Numbers that show whether simulated scenes are a fair stand-in for real ones.

All of one window of a cube as `open_cube` gives it, small enough to lie in memory: the groups have
``data (time, band, y, x)``, NaN where not clear, and ``clear (time, y, x)``.

**Acquisitions.** A track is the dates whose days since 1970 leave the same remainder by half the
repeat cycle (5 days for Sentinel-2, 6 for Sentinel-1), as two satellites half a cycle apart make
one. Counts a year are counts by the time between first and last date.

**Noise from date to date.** For three clear observations in a row of one pixel, the outer two
within 15 days of the middle one, ``r = (x1 - a x0 - (1 - a) x2) / sqrt(1 + a^2 + (1 - a)^2)``,
where ``a = (t2 - t1) / (t2 - t0)``: white noise of standard deviation s gives residuals r of
standard deviation s, a straight line gives none. Beside the errors of an observation it holds what
truly changes within days. Its standard deviation is 1.4826 x the median of ``|r|``. Radar
observations are in a row if they are of one track.

**Common to the scene.** With m_t the mean and n_t the number of residuals of date t, over dates
with a residual in 30 % of the pixels: ``sum n_t m_t^2 / sum r^2``.

**In space.** Pearson's correlation between pixels some distance apart along x or y, within one
date, mean over both and over all dates clear in 80 % of the pixels. For noise: of the residuals
less their median over the date.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

__all__ = ["Statistic", "optical", "radar"]

Array = NDArray[np.floating]
Mask = NDArray[np.bool_]

NEAR_DAYS = 15.0
YEAR_DAYS = 365.25
QUARTERS = ("Dec to Feb", "Mar to May", "Jun to Aug", "Sep to Nov")
PAIRS = ("B02 B03", "B03 B04", "B04 B05", "B04 B08", "B08 B8A", "B08 B11", "B11 B12", "B02 B12")


@dataclass(frozen=True)
class Statistic:
    """One line of the table."""

    name: str
    """What it is, with its unit."""

    value: float
    """NaN where the window has too little for it."""

    ratio: bool = False
    """Whether two of them compare by their ratio rather than their difference."""


def optical(group: xr.Dataset, pixel: float) -> Iterator[Statistic]:
    """What Sentinel-2 shows of a window whose pixels are ``pixel`` metres wide; computes."""
    data, days = group["data"].to_numpy(), days_of(group)
    clear = np.isfinite(data).all(1)
    share = clear.mean((1, 2))
    month = group["time"].dt.month.to_numpy()
    quarter = np.array(QUARTERS)[month % 12 // 3]
    yield from dates(days, 5)
    yield Statistic("clear share, all observations", share.mean())
    for name in QUARTERS:
        yield Statistic(f"clear share, {name}", mean(share[quarter == name]))
    yield Statistic("dates more than 80 % clear", (share > 0.8).mean())
    yield Statistic("dates less than 5 % clear", (share < 0.05).mean())
    yield from gaps(clear, days)

    bands = [str(name) for name in group["band"].to_numpy()]
    ndvi = index_of(data, bands)
    seen = data.transpose(0, 2, 3, 1)[clear]
    for percent in (50, 5, 95):
        name = "median" if percent == 50 else f"{percent} %"
        for band, value in zip(bands, np.quantile(seen, percent / 100, axis=0), strict=True):
            yield Statistic(f"{band}, {name}", value, ratio=True)
    for first, second in (pair.split() for pair in PAIRS):
        if first not in bands or second not in bands:
            continue
        related = np.corrcoef(seen[:, bands.index(first)], seen[:, bands.index(second)])[0, 1]
        yield Statistic(f"correlation of {first} and {second}", related)
    for name in QUARTERS:
        of_quarter = ndvi[quarter == name]
        for percent in (5, 50, 95):
            yield Statistic(f"NDVI {name}, {percent} %", quantile(of_quarter, percent / 100))
    yield Statistic("NDVI, median", quantile(ndvi[clear], 0.5))
    yield Statistic("NDVI, amplitude of a pixel", amplitude(ndvi, clear))
    for metres in (10, 50, 100):
        step = round(metres / pixel)
        yield Statistic(f"NDVI, correlation at {metres} m", in_space(ndvi, step))

    residual = residuals(data, days, np.zeros(len(days), int))
    apart = [band for band in ("B04", "B08", "B05", "B8A") if band in bands][:2]
    yield from noise(residual, bands, "", pixel, apart)


def radar(group: xr.Dataset, pixel: float) -> Iterator[Statistic]:
    """What one direction of Sentinel-1 shows of a window; computes."""
    data, days = group["data"].to_numpy(), days_of(group)
    yield from dates(days, 6)
    for band, name in enumerate(("VV", "VH")):
        yield Statistic(f"{name}, mean, dB", mean(data[:, band]))
        yield Statistic(f"{name}, std, dB", float(np.nanstd(data[:, band])), ratio=True)
    seen = data.transpose(0, 2, 3, 1)[np.isfinite(data).all(1)]
    yield Statistic("correlation of VV and VH", np.corrcoef(seen.T)[0, 1])
    residual = residuals(data, days, np.floor(days).astype(int) % 6)
    yield from noise(residual, ["VV", "VH"], " dB", pixel, apart=("VV", "VH"))


def dates(days: Array, repeat: int) -> Iterator[Statistic]:
    """How often the sensor passes."""
    years = (days[-1] - days[0]) / YEAR_DAYS
    tracks = np.bincount(np.floor(days).astype(int) % repeat)
    yield Statistic("dates a year", len(days) / years, ratio=True)
    yield Statistic("tracks", np.count_nonzero(tracks))
    yield Statistic("dates a year, fullest track", tracks.max() / years, ratio=True)
    yield Statistic("dates a year, emptiest track", tracks[tracks > 0].min() / years, ratio=True)


def gaps(clear: Mask, days: Array) -> Iterator[Statistic]:
    """Days between clear observations: quantiles over all gaps, the median pixel's longest."""
    series = clear.reshape(len(days), -1).T
    by_pixel = [np.diff(days[seen]) for seen in series if seen.sum() > 1]
    every = np.concatenate(by_pixel) if by_pixel else np.array([np.nan])
    yield Statistic("gap between clear observations, median, days", np.median(every), ratio=True)
    yield Statistic("gap, 90 %, days", np.quantile(every, 0.9), ratio=True)
    longest = [gap.max() for gap in by_pixel] or [np.nan]
    yield Statistic("gap, the longest of a pixel, days", np.median(longest), ratio=True)


def noise(
    residual: Array, bands: Sequence[str], unit: str, pixel: float, apart: Sequence[str]
) -> Iterator[Statistic]:
    """What the residuals (time, band, y, x) show of the errors; in space for bands ``apart``."""
    known = np.isfinite(residual).all(1)
    values = residual.transpose(0, 2, 3, 1)[known]
    if len(values) == 0:
        values = np.full((1, len(bands)), np.nan)
    spread = 1.4826 * np.median(np.abs(values), 0)
    for band, std in zip(bands, spread, strict=True):
        yield Statistic(f"{band}, noise std{unit}", std, ratio=True)
    for band, share in zip(bands, common(residual, known), strict=True):
        yield Statistic(f"{band}, common to the scene", share)
    yield Statistic("noise beyond 3 std", (np.abs(values) > 3 * spread).mean())
    related = np.corrcoef(values.T)
    between = [related[pair] for pair in combinations(range(len(bands)), 2)]
    yield Statistic("correlation of noise between bands", np.mean(between))
    for band in apart:
        own = residual[:, bands.index(band)].copy()
        own[known.mean((1, 2)) == 0] = 0.0  # a median of nothing would warn
        own -= np.nanmedian(own, axis=(1, 2), keepdims=True)
        for metres in (10, 50):
            name = f"{band}, noise, correlation at {metres} m"
            yield Statistic(name, in_space(own, round(metres / pixel)))


def common(residual: Array, known: Mask) -> Array:
    """Share of the mean square that is an offset common to a date, (band,)."""
    total, shared = np.zeros(residual.shape[1]), np.zeros(residual.shape[1])
    for date, where in zip(residual, known, strict=True):
        if where.mean() >= 0.3:
            values = date[:, where]
            total += np.square(values).sum(1)
            shared += values.shape[1] * np.square(values.mean(1))
    return np.divide(shared, total, out=np.full(len(total), np.nan), where=total > 0)


def residuals(data: Array, days: Array, track: NDArray[np.integer]) -> Array:
    """How far observations lie off the line between their two neighbours, (time, band, y, x)."""
    residual = np.full_like(data, np.nan)
    flat, series = data.reshape(*data.shape[:2], -1), residual.reshape(*data.shape[:2], -1)
    clear = np.isfinite(flat).all(1)
    for own in (np.flatnonzero(track == name) for name in np.unique(track)):
        for pixel in range(flat.shape[2]):
            dates = own[clear[own, pixel]]
            first, middle, last = dates[:-2], dates[1:-1], dates[2:]
            before, after = days[middle] - days[first], days[last] - days[middle]
            near = (before <= NEAR_DAYS) & (after <= NEAR_DAYS)
            first, middle, last = first[near], middle[near], last[near]
            a = (after / (before + after))[near, None]
            line = a * flat[first, :, pixel] + (1 - a) * flat[last, :, pixel]
            scale = np.sqrt(1 + a**2 + (1 - a) ** 2)
            series[middle, :, pixel] = (flat[middle, :, pixel] - line) / scale
    return residual


def in_space(fields: Array, step: int) -> float:
    """Correlation of (time, y, x) with itself ``step`` pixels on."""
    correlations = []
    for field in fields:
        if np.isfinite(field).mean() < 0.8 or np.nanstd(field) == 0:
            continue
        for near, far in ((field[:, :-step], field[:, step:]), (field[:-step], field[step:])):
            both = np.isfinite(near) & np.isfinite(far)
            if both.any():
                correlations.append(np.corrcoef(near[both], far[both])[0, 1])
    return mean(np.array(correlations))


def amplitude(ndvi: Array, clear: Mask) -> float:
    """The median pixel's range of NDVI, from its 5 to its 95 % over all clear dates."""
    series = np.where(clear, ndvi, np.nan).reshape(len(ndvi), -1)
    low, high = np.nanquantile(series, (0.05, 0.95), axis=0)
    return quantile(high - low, 0.5)


def index_of(data: Array, bands: Sequence[str]) -> Array:
    """NDVI, (time, y, x); NaN where a dark pixel would make it wilder than 0.3 beyond its range.

    Of B05 and B8A where B04 and B08 are not there: lower, but with the same seasons.
    """
    of = ("B04", "B08") if "B04" in bands else ("B05", "B8A")
    red, near_infrared = (data[:, bands.index(band)] for band in of)
    total = near_infrared + red
    ndvi = np.divide(near_infrared - red, total, out=np.full_like(total, np.nan), where=total > 0)
    return np.where(np.abs(ndvi) < 1.3, ndvi, np.nan)


def days_of(group: xr.Dataset) -> Array:
    """Days since 1970, with their fraction."""
    return group["time"].to_numpy().astype("datetime64[us]").astype(np.int64) / 86_400e6


def mean(values: Array) -> float:
    """The mean of what is finite, NaN of nothing."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def quantile(values: Array, at: float) -> float:
    """The quantile of what is finite, NaN of nothing."""
    known = values[np.isfinite(values)]
    return float(np.quantile(known, at)) if known.size else float("nan")
