"""How well latents and decoded bands of a simulated region predict its truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.simulation.truth import TRUTH
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.mapping.opened import open_bands, open_latents
from terralatent.pipeline.pictures.cube import sensors_of

__all__ = ["Scores", "open_truth", "score"]

SENSOR = "sentinel-2-l2a"

MOST_PIXELS = 4096
"""Pixels that are scored, evenly spread over the region."""

NINETY_PERCENT = 1.645
"""Standard deviations to either side that hold 90 % of a normal variable."""


@dataclass(frozen=True)
class Scores:
    """Scores of one simulated region; those of reflectance over all bands and decoded dates."""

    dates: dict[str, int]
    """Acquisitions of each sensor."""
    clear: float
    """Share of observations that are clear by the mask."""
    surface_error: float
    """Root mean square error of the decoded surface."""
    interpolation_error: float
    """The same of linear interpolation between the clear observations before and after."""
    coverage: float
    """Share of the truth within the 90 % credible intervals of the surface."""
    leaf_area_r2: float
    """Share of the variance of leaf area that a linear regression explains, held-out parcels."""
    leaf_area_error: float
    """Its root mean square error, m2/m2."""

    def lines(self, tuned: Scores) -> list[str]:
        """Four lines for a reader: these beside those of a model that was trained further."""
        optical = self.dates[SENSOR]
        radar = sum(self.dates.values()) - optical
        return [
            f"acquisitions  Sentinel-2 {optical} ({self.clear:.0%} of observations clear), "
            f"Sentinel-1 {radar}",
            f"surface       RMSE {self.surface_error:.4f}, trained here {tuned.surface_error:.4f}; "
            f"linear interpolation {self.interpolation_error:.4f}",
            f"coverage      90 % credible intervals hold {self.coverage:.0%}, trained here "
            f"{tuned.coverage:.0%}",
            f"leaf area     RMSE {self.leaf_area_error:.2f} m2/m2, trained here "
            f"{tuned.leaf_area_error:.2f}; R2 {self.leaf_area_r2:.2f}, {tuned.leaf_area_r2:.2f}",
        ]


def score(region: str | Path, cube: str | Path, latents: str | Path, bands: str | Path) -> Scores:
    """Compare the cube, latents and decoded Sentinel-2 bands of a region with its truth. Computes.

    Args:
        region: Folder that :func:`terralatent.catalogs.simulation.simulate.simulate` wrote.
        cube: Of the whole region.
        latents: Of that cube, at any dates.
        bands: Sentinel-2 of that cube, decoded at any dates.
    """
    truth = open_truth(region)
    opened = open_cube(cube)
    optical = opened[SENSOR].ds
    size = truth.sizes["y"]
    step = max(1, int(np.ceil(size / MOST_PIXELS**0.5)))
    thin = {"y": slice(step // 2, None, step), "x": slice(step // 2, None, step)}

    clear = _clear(optical.isel(thin))
    decoded = open_bands(bands).isel(thin)
    days = decoded.time.values.astype("datetime64[D]")
    surface = _true_days(truth, "reflectance", days, thin).transpose("band", "time", "y", "x")
    wanted = surface.sel(band=decoded.band.values.astype(str)).values
    mean = _values(decoded["mean"])
    spread = NINETY_PERCENT * _values(decoded["std_signal"])
    interpolated = _interpolated(clear, decoded)
    latent = open_latents(latents).isel(thin)
    return Scores(
        dates={name: opened[name].sizes["time"] for name in sensors_of(opened)},
        clear=float(np.isfinite(clear.values[:, 0]).mean()),
        surface_error=_rms(mean - wanted),
        interpolation_error=_rms(interpolated - wanted),
        coverage=float((np.abs(mean - wanted) <= spread).mean()),
        **_leaf_scores(truth, latent, thin),
    )


def open_truth(region: str | Path) -> xr.DataTree:
    """Open the truth of a simulated region, lazily; for what is in it see
    :mod:`terralatent.catalogs.simulation.truth`.

    Raises:
        InputError: If there is none.
    """
    store = Path(region) / TRUTH
    if not store.is_dir():
        raise InputError(f"{region} has no {TRUTH}: it is no region that `simulate` wrote.")
    return xr.open_datatree(store, engine="zarr", chunks=None, consolidated=False)


def _leaf_scores(truth: xr.DataTree, latents: xr.Dataset, thin: dict[str, slice]) -> dict[str, Any]:
    """Predict leaf area of parcels by the latents of others, and score it."""
    parcel = truth.ds["parcel"].isel(thin).values.ravel()
    cover = truth.ds["land_cover"].isel(thin).values[0].ravel()
    learns = np.isin(parcel, _half_of_each_class(parcel, cover))
    means = latents["mean"].transpose("time", "latent", "y", "x").values
    days = latents.time.values.astype("datetime64[D]")
    area = _true_days(truth, "leaf_area", days, thin).values.reshape(len(days), -1)
    by_date = means.reshape(len(days), means.shape[1], -1)
    ridge = make_pipeline(StandardScaler(), Ridge(1.0))
    ridge.fit(_rows(by_date[..., learns]), area[:, learns].ravel())
    wanted = area[:, ~learns].ravel()
    missed = ridge.predict(_rows(by_date[..., ~learns])) - wanted
    return {
        "leaf_area_r2": float(1 - (missed**2).mean() / wanted.var()),
        "leaf_area_error": _rms(missed),
    }


def _half_of_each_class(parcel: NDArray[Any], cover: NDArray[Any]) -> NDArray[Any]:
    """Every other parcel of each class; the only one of its class is learnt from."""
    chosen = [np.unique(parcel[cover == kind])[::2] for kind in np.unique(cover)]
    return np.concatenate(chosen)


def _rows(by_date: NDArray[Any]) -> NDArray[Any]:
    """(dates, latents, pixels) to one row for a date of a pixel."""
    return by_date.transpose(0, 2, 1).reshape(-1, by_date.shape[1])


def _true_days(
    truth: xr.DataTree, name: str, days: NDArray[np.datetime64], thin: dict[str, slice]
) -> xr.DataArray:
    """The truth of ``days``; reads those only."""
    daily = truth["daily"].ds[name].isel(thin)
    first = daily.time.values[0].astype("datetime64[D]")
    return daily.isel(time=(days - first).astype(int)).load()


def _clear(optical: xr.Dataset) -> xr.DataArray:
    """Reflectance with NaN where it is not clear, (time, band, y, x), in memory."""
    return optical["data"].transpose("time", "band", "y", "x").load()


def _values(data: xr.DataArray) -> NDArray[np.float32]:
    return data.transpose("band", "time", "y", "x").values


def _interpolated(clear: xr.DataArray, decoded: xr.Dataset) -> NDArray[np.float64]:
    """Linear interpolation of clear observations at the decoded dates, (band, time, y, x)."""
    seen = clear.time.values.astype("datetime64[s]").astype(float)
    wanted = decoded.time.values.astype("datetime64[s]").astype(float)
    values = clear.sel(band=decoded.band.values).values
    out = np.empty((values.shape[1], len(wanted), *values.shape[2:]))
    for y, x in np.ndindex(values.shape[2:]):
        for band in range(values.shape[1]):
            series = values[:, band, y, x]
            there = np.isfinite(series)
            out[band, :, y, x] = np.interp(wanted, seen[there], series[there])
    return out


def _rms(error: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))
