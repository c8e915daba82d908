"""What factors fitted on other regions make of halves, of means and of gap filling."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.halves.measure import NESTED, Functional, compare
from benchmarks.halves.scores import ALL, DIMENSION, rows_of
from benchmarks.halves.sites import PixelSites, mid_months, read_sites
from benchmarks.halves.splits import alternate
from benchmarks.halves.temper import fit_export, fit_precision, with_precision
from terralatent.models.calibration import hidden_dates, predict_hidden, thinned
from terralatent.models.checkpoint import load_model, read_manifest
from terralatent.models.gpvae import GPVAE
from terralatent.models.local_calibration import calibrate_locally
from terralatent.models.sensor.predictive import quantile_table, upper_quantile
from terralatent.models.shipped import DEFAULT, model_folder
from terralatent.pipeline.training.adapting.calibrate import open_place
from terralatent.pipeline.training.sampler import PixelSampler

__all__ = ["compare_factors", "fit_factors"]

FACTORS = "factors.json"
GAP_PIXELS, GAP_ROWS = 256, 20_000
SENSOR = "sentinel-2-l2a"
UPPER = 0.95


def fit_factors(work: Path, cubes: Mapping[str, Path], pixels: int) -> None:
    """Fit both kinds of factors on some regions, whatever is not there; computes."""
    kept = work / "halves" / FACTORS
    if kept.exists():
        return
    model = load_model(model_folder(DEFAULT))
    assert isinstance(model, GPVAE)
    regions = [read_sites(cube, DEFAULT, pixels) for cube in cubes.values()]
    precision, export = fit_precision(model, regions), fit_export(model, regions)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(
        json.dumps(
            {
                "precision": {name: own.tolist() for name, own in precision.items()},
                "export": export.tolist(),
                "regions": list(cubes),
                "pixels": [len(sites) for sites in regions],
            }
        )
    )


def compare_factors(
    work: Path,
    model: GPVAE,
    cube: Path,
    name: str,
    sites: PixelSites,
    maps: Mapping[str, Functional],
) -> Iterator[dict[str, Any]]:
    """Rows of halves and all, by each way, and what precision does beside. Computes."""
    kept = json.loads((work / "halves" / FACTORS).read_text())
    precision = {
        sensor: torch.tensor(own, dtype=torch.float64) for sensor, own in kept["precision"].items()
    }
    lowered = {sensor: own.clamp_min(1.0) for sensor, own in precision.items()}
    pool = _pool(cube, name)
    calibrated, _ = calibrate_locally(model, [pool])
    ways: dict[str, tuple[PixelSites, Tensor | None]] = {
        "as it is": (sites, None),
        "precision": (sites.divided(precision), None),
        "precision, only lowered": (sites.divided(lowered), None),
        "export": (sites, torch.tensor(kept["export"], dtype=torch.float64)),
        "calibrate": (sites, calibrated.local_std.double()),
    }
    for way, (own, std_factor) in ways.items():
        split = alternate(own, way)
        for compared in compare(model, split, maps, std_factor=std_factor, laws=(NESTED,)):
            for row in rows_of(compared):
                if row["by"] in (ALL, DIMENSION):
                    yield row
    before, base = _gap_filling(model, pool), _marginals(model, sites)
    for way, factors in (("precision", precision), ("precision, only lowered", lowered)):
        mean, var = _marginals(model, ways[way][0])
        after = _gap_filling(with_precision(model, factors), pool)
        yield {
            "by": "means",
            "split": way,
            "moved": float(((mean - base[0]).square() / base[1]).mean().sqrt()),
            "widened": float((var / base[1]).log().mean().mul(0.5).exp()),
            "error": after["error"] / before["error"],
            "covers before": before["covers"],
            "covers": after["covers"],
        }


@torch.no_grad()
def _marginals(model: GPVAE, sites: PixelSites) -> tuple[Tensor, Tensor]:
    """Mean and variance in the middle of the months, (N, 12, L) each."""
    queries, _ = mid_months(sites.days)
    return model.inference.marginals(model.kernel, sites.days, sites.w, sites.eta, queries)


def _pool(cube: Path, model: str) -> dict[str, Any]:
    place = open_place(cube, model, read_manifest(model_folder(model)), seed=0)
    (pool,) = PixelSampler([place], seed=0).pool(GAP_PIXELS)
    return dict(pool)


@torch.no_grad()
def _gap_filling(model: GPVAE, pool: Mapping[str, Any]) -> dict[str, float]:
    """Error, and what 90 % intervals hold, of acquisitions hidden alone and in windows."""
    sensor = model.sensor(SENSOR)
    parts = [predict_hidden(model, SENSOR, pool, hidden) for hidden in hidden_dates(pool[SENSOR])]
    missed = thinned(parts, GAP_ROWS)
    table = quantile_table(sensor.likelihood.mixture(), UPPER)
    reach = upper_quantile(
        table, sensor.signal_scale(missed.var) * missed.signal, sensor.noise_scale * missed.noise
    )
    inside = missed.error.abs() <= reach
    error = (missed.error * sensor.spread).square()[missed.valid].mean().sqrt()
    return {"error": float(error), "covers": float(inside[missed.valid].double().mean())}
