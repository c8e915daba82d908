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

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.dates import GAP_DAYS
from terralatent.pipeline.fields.pixels import read_where
from terralatent.pipeline.labels import FieldLabels
from terralatent.pipeline.mapping.job import MappingJob

__all__ = [
    "PairProducts",
    "Residuals",
    "SharedErrors",
    "common_share",
    "estimate_shared_errors",
    "pair_products",
]

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
    job: MappingJob, fields: FieldLabels, among: NDArray[np.bool_]
) -> SharedErrors:
    """Estimate what pixels of a field share, from acquisitions hidden from the model. Computes.

    A sensor with fewer than eight acquisitions of use shares nothing. Where the
    correlation cannot be estimated it is 1: pixels that are not known to be independent are not
    taken to be.

    Args:
        job: A cube and a model, at any dates.
        fields: On the cube's grid.
        among: Pixels that may be used, (y, x).
    """
    fields = fields.thinned(MOST_FIELDS)
    chosen = fields.some(MOST_PIXELS, among)
    pairs = {
        name: both
        for name, residuals in _residuals(job, fields, chosen).items()
        if (both := _both(*residuals)) is not None
    }
    covariances = {name: _positive(scattered.noise()) for name, (scattered, _) in pairs.items()}
    return SharedErrors(covariances, common_share(list(pairs.values())))


def _residuals(
    job: MappingJob, fields: FieldLabels, chosen: NDArray[np.bool_]
) -> dict[str, tuple[Residuals, Residuals]]:
    """Hide and predict acquisitions of each sensor, scattered ones and windows."""
    parts: dict[str, tuple[list[Residuals], list[Residuals]]] = {
        name: ([], []) for name in job.sensors
    }
    for block, series, places in read_where(job, chosen):
        field = fields.numbers[block.y, block.x].ravel()[places]
        for name in job.sensors:
            days = series.by_sensor[name].days
            scattered = np.arange(len(days)) % FOLDS
            windows = (days - days[:1]) // GAP_DAYS % FOLDS
            for kind, fold in zip(parts[name], (scattered, windows), strict=True):
                kind.append(_predict_hidden(job, series, name, fold, places, field))
    return {name: (_join(near), _join(far)) for name, (near, far) in parts.items()}


def _predict_hidden(
    job: MappingJob,
    series: SeriesBlock,
    name: str,
    fold: NDArray[np.number],
    places: NDArray[np.intp],
    field: NDArray[np.integer],
) -> Residuals:
    """Predict the acquisitions of each fold from all others, for some pixels of a block."""
    model, own = job.load(), series.by_sensor[name]
    sensor = model.sensor(name)
    # As they were observed: what is taken off an acquisition was estimated from itself too.
    observed = replace(own, errors=None).observations(places)
    shape = tuple(observed.values.shape)
    error, signal = np.zeros(shape), np.zeros(shape)
    times = np.rint(own.days * 86_400e6).astype(np.int64)
    spread = sensor.spread.cpu()
    # Nothing is known of bands that the cube lacks: neither an error nor what they share.
    there = list(range(shape[-1])) if own.places is None else own.places
    for number in np.unique(fold):
        hidden = fold == number
        rest = replace(own, clear=own.clear & ~hidden)
        seen = replace(series, by_sensor={**series.by_sensor, name: rest})
        predicted = replace(job, times=tuple(int(time) for time in times[hidden]))
        days = torch.from_numpy(own.days[hidden])
        for pixels, mean, var in predicted.infer(seen, places):
            at = np.ix_(np.searchsorted(places, pixels), np.flatnonzero(hidden))
            bands = model.decode(name, mean, var, days.to(mean.device))
            values = observed.values[torch.from_numpy(at[0]), torch.from_numpy(at[1])]
            error[at] = ((values - bands.mean.cpu()) / spread).numpy()
            signal[at] = (bands.std_signal.cpu() / spread).square().numpy()
    lacking = np.delete(np.arange(shape[-1]), there)
    error[..., lacking] = signal[..., lacking] = 0.0
    return Residuals(error, signal, observed.valid[..., there].all(-1).numpy(), field)


def _join(parts: list[Residuals]) -> Residuals:
    return Residuals(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("error", "signal", "seen", "field")
        )
    )


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
