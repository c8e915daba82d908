"""The tables of truth.py: errors, coverage, leaf area, the gain from radar, means of parcels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

HALF, NINETY = 0.6745, 1.645
"""Standard deviations to either side that hold 50 and 90 % of a normal variable."""

GAPS = (("0-2", 0, 2), ("3-7", 3, 7), ("8-15", 8, 15), ("16-30", 16, 30), ("> 30", 31, np.inf))
"""Classes of days to the nearest observation: first and last day."""

SIZES = ((9, 31), (32, 99), (100, 10**9))
"""Classes of parcels by their pixels, first and last."""

MONTHS = (4, 9)
"""First and last month of the season in which leaves change."""


def classes(gap: Array) -> Iterator[tuple[str, Mask]]:
    """Names of the classes of gaps, and where they are."""
    for name, first, last in GAPS:
        yield name, (gap >= first) & (gap <= last)


class Table:
    """Lines of errors and of how much the credible intervals cover."""

    def __init__(self, title: str) -> None:
        self.lines = [f"\n{title:48s} share    RMSE     MAE    50 %   90 %     std"]
        self.finite = True

    def add(self, name: str, error: Array, std: Array, some: Mask | None = None) -> None:
        """Add the line of all values, or of ``some``, of the shape of the leading dims."""
        share = 1.0 if some is None else float(some.mean())
        error, std = (error, std) if some is None else (error[some], std[some])
        if not error.size:
            self.lines.append(f"  {name:46s} none")
            return
        far = np.abs(error) / np.maximum(std, 1e-12)
        scores = [rms(error), np.abs(error).mean()]
        scores += [100 * (far <= HALF).mean(), 100 * (far <= NINETY).mean(), rms(std)]
        self.finite &= bool(np.isfinite(scores).all())
        self.lines.append(
            f"  {name:46s} {share:5.3f}  {scores[0]:6.4f}  {scores[1]:6.4f}  {scores[2]:5.1f}  "
            f"{scores[3]:5.1f}  {scores[4]:6.4f}"
        )

    def print(self) -> bool:
        """Print it; whether all values are finite."""
        print("\n".join(self.lines), flush=True)
        return self.finite


def leaves(region: Any, surface: Any) -> bool:
    """Leaf area by a linear regression on latents, on parcels not fitted to; m2/m2."""
    fitted = np.concatenate(
        [np.unique(region.parcel[region.cover == kind])[::2] for kind in np.unique(region.cover)]
    )
    learns = np.isin(region.parcel, fitted)
    if learns.all() or not learns.any():
        print("\nleaf area: too few parcels", flush=True)
        return True
    latents, area = surface.latents, region.leaf_area
    ridge = make_pipeline(StandardScaler(), Ridge(1.0))
    ridge.fit(latents[learns].reshape(-1, latents.shape[-1]), area[learns].ravel())
    predicted = ridge.predict(latents[~learns].reshape(-1, latents.shape[-1]))
    wanted, gap = area[~learns], surface.gap[~learns]
    missed = predicted.reshape(wanted.shape) - wanted
    print(f"\n{'leaf area, parcels not fitted to':48s} share    RMSE     MAE     R2")
    every = [("all", np.ones(gap.shape, dtype=bool))]
    every += [(f"{name} days", some) for name, some in classes(gap)]
    finite = True
    for name, some in every:
        if not some.any():
            print(f"  {name:46s} none")
            continue
        error, spread = missed[some], wanted[some].var()
        r2 = f"{1 - np.mean(error**2) / spread:6.2f}" if spread > 0 else "     -"
        scores = f"{some.mean():5.3f}  {rms(error):6.3f}  {np.abs(error).mean():6.3f} {r2}"
        print(f"  {name:46s} {scores}", flush=True)
        finite &= bool(np.isfinite(error).all())
    return finite


def radar(region: Any, surfaces: Mapping[int, Mapping[str, Any]]) -> bool:
    """Errors with and without radar by class of gap; surfaces by days hidden and by sensors."""
    month = region.days.astype("datetime64[M]").astype(int) % 12 + 1
    season = (month >= MONTHS[0]) & (month <= MONTHS[1])
    print(f"\n{'what radar adds':48s} share  RMSE S2  RMSE S1+S2  ratio  90 % S2  90 % S1+S2")
    finite = True
    for days, both in surfaces.items():
        gap = both["S2"].gap
        every = [("all", np.ones(gap.shape, dtype=bool)), *classes(gap)]
        every.append(("> 30, April to September", (gap > 30) & season[None, :]))
        hidden = f"{days} days hidden" if days else "as it is"
        for name, some in every:
            finite &= _with_and_without(f"{hidden}, {name}", region.surface, [(both, some)])
    windows = [(both, both["S2"].gap > 30) for days, both in surfaces.items() if days]
    return finite & _with_and_without("all windows, > 30", region.surface, windows)


def _with_and_without(
    name: str, surface: Array, parts: Sequence[tuple[Mapping[str, Any], Mask]]
) -> bool:
    """Print the line of some values with radar and without; whether all in it is finite."""
    share = np.mean([some.mean() for _, some in parts])
    if not share:
        print(f"  {name:46s} none")
        return True
    row = []
    for which in ("S2", "S1+S2"):
        error = np.concatenate([(both[which].mean - surface)[some] for both, some in parts])
        std = np.concatenate([both[which].std[some] for both, some in parts])
        row += [rms(error), 100 * float((np.abs(error) <= NINETY * std).mean())]
    alone, covered, both_error, covers = row
    line = f"  {name:46s} {share:5.3f}   {alone:6.4f}      "
    line += f"{both_error:6.4f}  {both_error / alone:5.3f}    {covered:5.1f}"
    print(f"{line}       {covers:5.1f}", flush=True)
    return bool(np.isfinite(row).all())


def fields(means: xr.Dataset, wanted: Array) -> bool:
    """Means of parcels: their errors, and what four standard deviations cover."""
    error = means["mean"].values - wanted
    count = means["pixels"].values
    stds = {
        "field_means": means["std"].values,
        "of it, errors of acquisitions": means["std_shared"].values,
        "as if independent": means["std_pixel"].values / np.sqrt(count)[:, None, None],
        "that of one pixel": means["std_pixel"].values,
    }
    table = Table(f"means of {len(count)} parcels")
    for name, std in stds.items():
        table.add(name, error, std)
    for first, last in SIZES:
        some = (count >= first) & (count <= last)
        size = f"{first} to {last} pixels" if last < 10**9 else f"{first} pixels and more"
        table.add(f"{size}, field_means", error, stds["field_means"], some)
        table.add(f"{size}, as if independent", error, stds["as if independent"], some)
    table.lines.append(
        f"  of two pixels' errors in a gap, {100 * means.attrs['correlation']:.0f} % is common"
    )
    return table.print()


def rms(values: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
