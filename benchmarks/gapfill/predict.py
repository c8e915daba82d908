"""Sentinel-2 as a trained model predicts it: of all pixels at given times, or of one at many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gapfill.cubes import SENSOR, Looks
from benchmarks.gapfill.holdouts import Rotation
from benchmarks.gapfill.scoring import Predicted
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.job import plan_job
from terralatent.pipeline.region import Block

__all__ = ["one_series", "predict"]

Array = NDArray[np.floating]

FIELDS = ("mean", "std_signal", "std", "q05", "q95")
SERIES_STEP = np.timedelta64(3, "D")
SERIES_BANDS = ("B04", "B08")


def predict(
    cube: Path, model: Path, looks: Looks, times: NDArray[np.datetime64]
) -> tuple[Predicted, int]:
    """Predict all bands of all pixels inside the scenes at ``times``, ascending; computes.

    Returns:
        The prediction, and the number of parameters that are trained.
    """
    job = plan_job(cube, model, times)
    loaded = job.load()
    series = job.read(_whole(looks))
    days = torch.from_numpy(days_since_1970(job.dates))
    columns: dict[str, list[Array]] = {name: [] for name in FIELDS}
    with torch.no_grad():
        for _, mean, var in job.infer(series, np.flatnonzero(looks.inside)):
            found = loaded.decode(SENSOR, mean, var, days.to(mean.device), looks.bands)
            for name in FIELDS:
                columns[name].append(getattr(found, name).cpu().numpy())
    whole = {name: np.concatenate(column) for name, column in columns.items()}
    if not all(np.isfinite(part).all() for part in whole.values()):
        raise ArithmeticError(f"{model}: a predicted value is not finite")
    likelihood = loaded.sensor(SENSOR).likelihood
    tau, log_weight = likelihood.mixture()
    signal = np.square(whole["std_signal"], dtype=np.float64)
    # What is not the surface's is noise, in the shape of the likelihood.
    variance = np.maximum(np.square(whole["std"], dtype=np.float64) - signal, 1e-12)
    predicted = Predicted(
        mean=whole["mean"],
        signal=signal,
        noise=variance / float(likelihood.variance_ratio().detach()),
        low=whole["q05"],
        high=whole["q95"],
        mixture=(tau.numpy(), log_weight.exp().numpy()),
    )
    return predicted, sum(
        parameter.numel() for parameter in loaded.parameters() if parameter.requires_grad
    )


def one_series(cube: Path, model: Path, looks: Looks, rotation: Rotation) -> dict[str, Any]:
    """One pixel's gap-filled series: every three days, beside what was seen and what was hidden.

    Of the pixels with the most scored looks clear, the one whose B08 varies more than that of
    three quarters of them.
    """
    hidden = np.zeros(len(looks.days), bool)
    hidden[list(rotation.hidden)] = True
    spread = np.where(looks.clear, looks.values[..., looks.bands.index("B08")], np.nan)
    varies = np.nanstd(spread, axis=1)
    whole = looks.clear[:, list(rotation.scored)].mean(1)
    candidates = np.flatnonzero(whole == whole.max())
    pixel = int(candidates[np.argsort(varies[candidates])[len(candidates) * 3 // 4]])
    times = np.arange(looks.times[0], looks.times[-1], SERIES_STEP)
    job = plan_job(cube, model, times)
    place = np.flatnonzero(looks.inside)[[pixel]]
    block = job.read(_whole(looks))
    ((_, mean, var),) = job.infer(block, place)
    days = days_since_1970(job.dates)
    found = job.load().decode(SENSOR, mean, var, torch.from_numpy(days), SERIES_BANDS)
    seen, kept = looks.clear[pixel] & ~hidden, looks.clear[pixel] & hidden
    bands = [looks.bands.index(band) for band in SERIES_BANDS]
    values = looks.values[pixel][:, bands]
    return {
        "bands": list(SERIES_BANDS),
        "pixel": int(place[0]),
        "windows": [list(window) for window in rotation.windows],
        "days": days.tolist(),
        **{name: getattr(found, name)[0].tolist() for name in FIELDS},
        "seen": {"days": looks.days[seen].tolist(), "values": values[seen].tolist()},
        "hidden": {"days": looks.days[kept].tolist(), "values": values[kept].tolist()},
    }


def _whole(looks: Looks) -> Block:
    rows, columns = looks.shape
    return Block((0, 0), slice(0, rows), slice(0, columns))
