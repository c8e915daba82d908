r"""Features of pixels from the latents of a year: one row a pixel, for whatever learns from few
labels.

.. math:: m_{l}(t_q), \quad \sigma_l(t_q), \quad s_l, \quad
    \hat m_l(t) = a_l + c_l \cos 2 \pi t / T + d_l \sin 2 \pi t / T

The posterior means of each latent at some dates, their standard deviations, what of the latent
never changes (the constant term of the prior, with its own standard deviation), the first harmonic
that fits the means best, and how often each sensor saw the pixel. Means at dates are what
classifiers learn most from; see docs/tables.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.families import families_that
from terralatent.models.gpvae import GPVAE
from terralatent.models.latent_model import LatentModel
from terralatent.models.sensor.networks import YEAR_DAYS
from terralatent.pipeline.dates import Times, When, days_since_1970, parse_when
from terralatent.pipeline.pixels.model import (
    Inferred,
    ModelSource,
    PixelModel,
    sensors_of,
)
from terralatent.pipeline.tables.series import Series

if TYPE_CHECKING:
    import pandas

__all__ = ["PARTS", "Features", "features", "parts_of", "shared_dates", "year_features"]

PARTS = ("mean", "std", "static", "harmonics", "counts")
"""Of what features are made, in the order of their columns."""

FEWEST_DATES = 3
"""That a harmonic needs."""

JOINT_NUMBERS = 2**24
"""In the etas of a joint posterior that is worked out at once."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of N pixels; F columns.

    Examples:
        >>> import terralatent as tl
        >>> report = tl.extract("cube", "pixels.parquet", polygons="labels.geojson", label="crop")
        >>> made = tl.features("model", tl.Series.from_table("pixels.parquet"), "monthly:2018")
        >>> made.names[0], made.part("mean").shape  # twelve dates x four latents
        ('mean_0_2018-01-15', (144, 48))
        >>> made.to_frame()["label"].nunique()
        2
    """

    pixels: pa.Table
    """``pixel``, and what else the series know of each; N rows."""

    names: tuple[str, ...]
    """Of the columns: ``mean_3_2018-05-15`` is that of latent 3 on a date, ``std_...`` its standard
    deviation, ``static_3`` and ``static_std_3``, ``cos_3`` and ``sin_3``, ``count_SENSOR``."""

    values: NDArray[np.float32]
    """(N, F); latents in standard deviations of the prior."""

    dates: Times
    """Of the latents, datetime64[us], (Q,)."""

    covariance: NDArray[np.float32] | None = None
    """Of each latent between the dates, (N, L, Q, Q); None where it was not wanted. Latents are
    independent given the observations."""

    def __len__(self) -> int:
        """The number of pixels N."""
        return len(self.values)

    def part(self, name: str) -> NDArray[np.float32]:
        """The columns of ``mean``, ``std``, ``static``, ``static_std``, ``cos``, ``sin`` or
        ``count``, in their order, (N, ...)."""
        own = re.compile(rf"{re.escape(name)}_(?!std_)")
        return self.values[:, [place for place, name in enumerate(self.names) if own.match(name)]]

    def to_arrow(self) -> pa.Table:
        """A row for each pixel: what is known of it, then its features."""
        table = self.pixels
        for name, column in zip(self.names, self.values.T, strict=True):
            table = table.append_column(name, pa.array(np.ascontiguousarray(column)))
        return table

    def to_frame(self) -> pandas.DataFrame:
        """The same as a pandas frame."""
        return self.to_arrow().to_pandas()


def features(
    model: ModelSource,
    series: Series,
    dates: When = "monthly",
    *,
    parts: Sequence[str] | None = None,
    joint: bool = False,
    device: str = "auto",
) -> Features:
    """Make features of pixels from their latents at some dates. Computes, in memory.

    A pixel that was never observed has those of the prior, and counts of 0.

    Args:
        model: In memory, or its folder, or the name of one that comes with the package.
        series: Of the pixels.
        dates: See :func:`terralatent.pipeline.dates.parse_when`: ``monthly:2018`` are the twelve
            of a year. The period is that of the series, from their first to their last observation.
        parts: Some of :data:`PARTS`; by default all that the model gives at these dates.
        joint: Whether the covariance between dates is wanted as well: N x L x Q x Q floats.
        device: Where a model that is loaded runs.

    Raises:
        InputError: If the model shares no band with the series, does not give a part, or the dates
            mean nothing.
        CheckpointError: If the model cannot be read.

    Examples:
        >>> import terralatent as tl
        >>> report = tl.extract("cube", "pixels.parquet", polygons="labels.geojson", label="crop")
        >>> series = tl.Series.from_table("pixels.parquet")
        >>> tl.features("model", series, "2018-03-15", parts=["mean", "std"]).values.shape
        (144, 8)
    """
    found = PixelModel.open(model, sensors_of(series), where="the series", device=device)
    when = shared_dates(dates, series.times)
    chosen = parts_of(found.model, len(when), parts, joint=joint)
    return year_features(found, series, when, chosen, joint=joint)


def shared_dates(dates: When, times: NDArray[np.int64]) -> Times:
    """Dates at which all pixels are wanted, by the times of all that was observed."""
    own = isinstance(dates, str) and dates.strip().startswith("acquisitions")
    if own or isinstance(dates, slice):
        raise InputError(
            "Features are of dates that all pixels share, and acquisitions are each pixel's own; "
            "give monthly:2018 or other dates."
        )
    if not len(times):
        raise InputError("The series have no observation; give a table that has some.")
    seen = np.array([times.min(), times.max()]).astype("datetime64[us]")
    return parse_when(dates, (seen[0], seen[1]), seen)


def parts_of(
    model: LatentModel, dates: int, parts: Sequence[str] | None, *, joint: bool = False
) -> tuple[str, ...]:
    """Which parts of features a model gives at so many dates.

    Raises:
        InputError: If one that is wanted is unknown, or none of these.
    """
    static = isinstance(model, GPVAE) and model.has_static
    lacking = {} if static else {"static": f"a {model.config.model} of this prior has none"}
    if dates < FEWEST_DATES:
        lacking["harmonics"] = f"they take {FEWEST_DATES} dates, not {dates}"
    if joint and not model.has_joint:
        able = families_that(lambda family: family.has_joint)
        raise InputError(
            f"A {model.config.model} gives no covariance between dates; only a {able} does."
        )
    if unknown := [part for part in parts or () if part not in PARTS]:
        raise InputError(f"Features have no part {', '.join(unknown)}; give {', '.join(PARTS)}.")
    for part in parts or ():
        if part in lacking:
            raise InputError(f"Features cannot have the part {part}: {lacking[part]}.")
    wanted = PARTS if parts is None else parts
    return tuple(part for part in PARTS if part in wanted and part not in lacking)


def feature_names(found: PixelModel, dates: Times, parts: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns of features, in their order."""
    latents = range(found.latents)
    days = [_short(date) for date in dates]
    names = {
        "mean": [f"mean_{latent}_{day}" for day in days for latent in latents],
        "std": [f"std_{latent}_{day}" for day in days for latent in latents],
        "static": [f"{name}_{latent}" for name in ("static", "static_std") for latent in latents],
        "harmonics": [f"{name}_{latent}" for name in ("cos", "sin") for latent in latents],
        "counts": [f"count_{sensor}" for sensor in found.bands],
    }
    return tuple(name for part in parts for name in names[part])


def year_features(
    found: PixelModel, series: Series, dates: Times, parts: Sequence[str], *, joint: bool = False
) -> Features:
    """Make features of some pixels; see :func:`features`. Computes."""
    days = days_since_1970(dates)
    names = feature_names(found, dates, parts)
    values = np.full((len(series), len(names)), np.nan, np.float32)
    covariance = None
    if joint:
        shape = (len(series), found.latents, len(dates), len(dates))
        covariance = np.empty(shape, np.float32)
    counts = found.counts(series)
    for some in found.infer(series, days):
        columns = {
            "mean": some.mean.reshape(len(some.places), -1),
            "std": some.std.reshape(len(some.places), -1),
            "counts": np.stack([own[some.places] for own in counts.values()], axis=1),
        }
        if "static" in parts:
            columns["static"] = _static(found.model, some)
        if "harmonics" in parts:
            columns["harmonics"] = harmonics(some.mean, days)
        values[some.places] = np.concatenate([columns[part] for part in parts], axis=1)
        if covariance is not None:
            covariance[some.places] = _covariance(found.model, some, days)
    return Features(series.pixels, names, values, dates, covariance)


def harmonics(mean: NDArray[np.float32], days: NDArray[np.float64]) -> NDArray[np.float32]:
    """Fit a level and one wave a year to series by least squares.

    Args:
        mean: (N, Q, L).
        days: Since 1970-01-01, (Q,).

    Returns:
        The waves' cosine, then sine, of each latent, (N, 2 L); that of least norm where the dates
        do not fix it.
    """
    angle = 2.0 * np.pi * days / YEAR_DAYS
    design = np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle)], axis=1)
    wave = np.einsum("kq,nql->nkl", np.linalg.pinv(design)[1:], mean.astype(np.float64))
    return wave.reshape(len(mean), -1).astype(np.float32)


def _static(model: LatentModel, some: Inferred) -> NDArray[np.float32]:
    assert isinstance(model, GPVAE)
    static = model.static(some.block.packed(some.rows, model.device))
    assert static is not None
    mean, var = static
    return torch.cat([mean, var.clamp_min(0.0).sqrt()], dim=1).cpu().numpy()


def _covariance(
    model: LatentModel, some: Inferred, days: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The joint covariance, with the widths that hold at the model's place."""
    assert isinstance(model, GPVAE)
    query = torch.from_numpy(days).to(model.device)
    dates = sum(len(own.days) for own in some.block.by_sensor.values())
    step = max(1, JOINT_NUMBERS // ((len(days) + 1) * max(1, dates) * model.config.latents))
    parts = []
    for start in range(0, len(some.rows), step):
        rows = some.rows[start : start + step]
        _, cov = model.joint(some.block.packed(rows, model.device), query)
        parts.append(model.latent_covariance(cov).cpu().numpy())
    return np.concatenate(parts)


def _short(date: np.datetime64) -> str:
    """A date, and its time of day where it has one."""
    return str(date).removesuffix("T00:00:00.000000").removesuffix(":00.000000")
