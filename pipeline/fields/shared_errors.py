r"""Errors that all pixels of a field share: of acquisitions, and of the land between them.

Two pixels of one field are wrong together for two reasons. An acquisition is off over the whole
scene and over whole fields (aerosol, calibration, wet leaves): a covariance N of each sensor over
its bands. And where nothing was seen, the field goes its way as one: of the variance S that the
model gives a pixel's surface, a share rho is common to the field.

Both come from acquisitions that are hidden and predicted from the rest, twice: scattered ones,
which have near neighbours, and all of a window of 45 days. Over pairs of different pixels of a
field, residuals have the mean product N + rho S. The acquisitions, hence N, are the same both
times, S is not, so that

.. math:: \rho = (U_{window} - U_{scattered}) / (S_{window} - S_{scattered})

which is Wald's estimator with the kind of gap as the instrument. N is what the scattered ones
share, less the surface's own error: their products, in the proportion that S leaves of the
residuals' mean square.

References:
    | The fitting of straight lines if both variables are subject to error (Wald, 1940)
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from terralatent.models.observations import Observations
from terralatent.pipeline.dates import GAP_DAYS
from terralatent.pipeline.fields.sample import FieldPixels
from terralatent.pipeline.mapping.job import MappingJob
from terralatent.pipeline.pixels.batches import BATCH_OBSERVATIONS
from terralatent.pipeline.progress import Progress, Silent
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.arrays import INNER_CHUNK

__all__ = [
    "MOST_FIELDS",
    "MOST_PIXELS",
    "PairProducts",
    "Residuals",
    "SharedErrors",
    "common_share",
    "estimate_shared_errors",
    "pair_products",
]

log = logging.getLogger(__name__)

FOLDS = 4
"""Parts into which acquisitions are divided; each is predicted from the others."""

MOST_FIELDS, MOST_PIXELS = 32, 12
"""Fields, and pixels of each, from which errors are estimated."""

FEWEST = 8
"""Acquisitions of a sensor that show several pixels of a field, below which it shares nothing."""

FAR = 5.0
"""Robust standard deviations at which a residual is cut: a missed cloud is no error of scenes."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SharedErrors:
    """What pixels of one field have in common of their errors."""

    covariances: Mapping[str, Array]
    """Of what one acquisition is off over a whole field, by sensor, (B, B), normalised units;
    sensors that are absent share nothing."""

    correlation: float
    """Of two pixels' errors of the surface, beside those of :attr:`covariances`, 0 to 1."""

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        covariances = {name: np.asarray(own).tolist() for name, own in self.covariances.items()}
        return {"covariances": covariances, "correlation": float(self.correlation)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SharedErrors:
        """What :meth:`to_json` made JSON of."""
        covariances = {name: np.array(own) for name, own in values["covariances"].items()}
        return cls(covariances, values["correlation"])

    def draw(self, sensor: str, dates: int, draws: int, seed: int) -> Array | None:
        """Draw errors of acquisitions; None where the sensor's pixels share nothing.

        Returns:
            (draws, dates, B), normalised units; those of a sensor depend on its name, its number
            of dates and the seed only.
        """
        covariance = self.covariances.get(sensor)
        if covariance is None or not covariance.any():
            return None
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(values.clip(0.0))
        noise = np.random.default_rng([seed, zlib.crc32(sensor.encode())])
        return noise.standard_normal((draws, dates, len(covariance))) @ root.T


@dataclass(frozen=True, eq=False)
class Residuals:
    """What one sensor's hidden acquisitions missed, one row a pixel, normalised units."""

    error: Array
    """Observed minus predicted, (n, T, B)."""
    signal: Array
    """Variance of the surface as predicted, (n, T, B)."""
    seen: NDArray[np.bool_]
    """(n, T)"""
    field: NDArray[np.integer]
    """(n,)"""


@dataclass(frozen=True, eq=False)
class PairProducts:
    """Means over acquisitions and fields, normalised units."""

    product: Array
    """Of the residuals of two different pixels of a field, (B, B)."""
    square: Array
    """Of the residuals squared, (B,)."""
    signal: Array
    """Variance of the surface as predicted, (B,)."""

    def noise(self) -> Array:
        """Covariance of what one acquisition is off over a field, (B, B)."""
        share = np.sqrt((1.0 - self.signal / self.square.clip(1e-12)).clip(0.0))
        return np.asarray(share[:, None] * self.product * share)


def estimate_shared_errors(
    job: MappingJob, pixels: FieldPixels, progress: Progress | None = None
) -> SharedErrors:
    """Estimate what pixels of a field share, from acquisitions hidden from the model. Computes.

    A sensor with fewer than eight acquisitions of use shares nothing. Where the
    correlation cannot be estimated it is 1: pixels that are not known to be independent are not
    taken to be.

    Args:
        job: A cube and a model, at any dates.
        pixels: Some of some fields, several of each, such as :data:`MOST_PIXELS` of
            :data:`MOST_FIELDS`; they are read wherever they lie, and held in memory together.
        progress: Advanced by each part of the acquisitions that is hidden.
    """
    seen = _read(job, pixels)
    if seen is None:
        return SharedErrors({}, 1.0)
    bar = progress or Silent()
    bar.start(2 * FOLDS * len(seen.observed), "shared errors")
    try:
        pairs = {
            name: both
            for name in seen.observed
            if (
                both := _both(
                    *(_predict(job, seen, name, fold, bar) for fold in _folds(seen, name))
                )
            )
        }
    finally:
        bar.close()
    covariances = {name: _positive(scattered.noise()) for name, (scattered, _) in pairs.items()}
    return SharedErrors(covariances, common_share(list(pairs.values())))


@dataclass(frozen=True, eq=False)
class _Seen:
    """Pixels as the model sees them, and as they were observed."""

    series: dict[str, Observations]
    """By sensor, on the model's device."""

    observed: dict[str, Observations]
    """As they were before anything was taken off: what is taken off an acquisition was estimated
    from itself too. On the CPU."""

    there: dict[str, list[int]]
    """Bands that the cube has, among the model's."""

    field: NDArray[np.integer]
    """(n,)"""


def _read(job: MappingJob, pixels: FieldPixels) -> _Seen | None:
    """Read the pixels, window by window of one inner chunk; those outside every scene stay.

    None where nothing can be read.
    """
    device = job.load().device
    columns = job.grid.shape[1] // INNER_CHUNK + 1
    window = pixels.rows // INNER_CHUNK * columns + pixels.columns // INNER_CHUNK
    series: dict[str, list[Observations]] = {name: [] for name in job.sensors}
    observed: dict[str, list[Observations]] = {name: [] for name in job.sensors}
    there: dict[str, list[int]] = {}
    field = []
    for number in np.unique(window):
        rows, own = pixels.rows[window == number], pixels.columns[window == number]
        y, x = (slice(int(some.min()), int(some.max()) + 1) for some in (rows, own))
        try:
            read = job.read(Block((0, 0), y, x))
        except OSError as error:  # damaged there: its block is lost, the others are not
            log.info("%s: pixels that what fields share is estimated from are left out", error)
            continue
        places = (rows - y.start) * (x.stop - x.start) + own - x.start
        for name, sensor in read.by_sensor.items():
            series[name].append(sensor.observations(places, device))
            observed[name].append(replace(sensor, errors=None).observations(places))
            bands = observed[name][0].values.shape[-1]
            there[name] = list(range(bands)) if sensor.places is None else sensor.places
        field.append(pixels.field[window == number])
    if not field:
        return None
    return _Seen(
        {name: Observations.concatenate(own) for name, own in series.items()},
        {name: Observations.concatenate(own) for name, own in observed.items()},
        there,
        np.concatenate(field),
    )


def _folds(seen: _Seen, name: str) -> tuple[NDArray[np.number], NDArray[np.number]]:
    """To which part each acquisition belongs: of scattered ones, and of windows."""
    days = seen.observed[name].days.numpy()
    return np.arange(len(days)) % FOLDS, (days - days[:1]) // GAP_DAYS % FOLDS


def _predict(
    job: MappingJob, seen: _Seen, name: str, fold: NDArray[np.number], bar: Progress
) -> Residuals:
    """Predict the acquisitions of each part of one sensor from all others."""
    model, observed = job.load(), seen.observed[name]
    spread = model.sensor(name).spread.cpu()
    error = torch.zeros(observed.values.shape, dtype=torch.float64)
    signal = torch.zeros_like(error)
    step = max(1, BATCH_OBSERVATIONS // sum(len(own.days) for own in seen.series.values()))
    for number in np.unique(fold):
        hidden = torch.from_numpy(fold == number)
        days = observed.days[hidden].to(model.device)
        rest = seen.series[name].hide(hidden.to(model.device))
        for start in range(0, len(observed), step):
            some = slice(start, start + step)
            series = {other: own.select(some) for other, own in seen.series.items()}
            mean, var = model.infer({**series, name: rest.select(some)}, days)
            bands = model.decode(name, mean, var, days)
            missed = (observed.values[some, hidden] - bands.mean.cpu()) / spread
            error[some, hidden] = missed.double()
            signal[some, hidden] = (bands.std_signal.cpu() / spread).square().double()
        bar.advance()
    # Nothing is known of bands that the cube lacks: neither an error nor what they share.
    there = seen.there[name]
    lacking = [band for band in range(error.shape[-1]) if band not in there]
    error[..., lacking] = signal[..., lacking] = 0.0
    every = observed.valid[..., there].all(-1).numpy()
    return Residuals(error.numpy(), signal.numpy(), every, seen.field)


def _both(near: Residuals, far: Residuals) -> tuple[PairProducts, PairProducts] | None:
    products = pair_products(near), pair_products(far)
    return None if products[0] is None or products[1] is None else (products[0], products[1])


def common_share(pairs: Sequence[tuple[PairProducts, PairProducts]]) -> float:
    """How much of the surface's variance two pixels of a field have in common, 0 to 1.

    Args:
        pairs: Of each sensor, scattered acquisitions and windows; with none the answer is 1.
    """
    rise = sum(float(np.trace(far.product - near.product)) for near, far in pairs)
    spread = sum(float((far.signal - near.signal).sum()) for near, far in pairs)
    return min(max(rise / spread, 0.0), 1.0) if spread > 0.0 else 1.0


def pair_products(residuals: Residuals) -> PairProducts | None:
    """Average over pairs of different pixels of a field on one date, over dates and fields.

    None where too few acquisitions show several pixels of a field.
    """
    usable: set[int] = set()
    products, squares, signals = [], [], []
    scale = (
        1.4826 * np.median(np.abs(residuals.error[residuals.seen]), axis=0)
        if residuals.seen.any()
        else 0.0
    )
    error = residuals.error.clip(-FAR * scale, FAR * scale)
    for number in np.unique(residuals.field):
        mine = residuals.field == number
        for date in np.flatnonzero(residuals.seen[mine].sum(0) >= 2):
            there = mine & residuals.seen[:, date]
            some, count = error[there, date], int(there.sum())
            total = some.sum(0)
            # All products of two different pixels: those of a pixel with itself taken out.
            pairs = np.outer(total, total) - some.T @ some
            products.append(pairs / (count * (count - 1)))
            squares.append(np.square(some).mean(0))
            signals.append(residuals.signal[there, date].mean(0))
            usable.add(int(date))
    if len(usable) < FEWEST:
        return None
    return PairProducts(*(np.mean(values, axis=0) for values in (products, squares, signals)))


def _positive(matrix: Array) -> Array:
    """The nearest covariance: negative eigenvalues are set to zero."""
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    return np.asarray((vectors * values.clip(0.0)) @ vectors.T)
