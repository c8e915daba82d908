r"""By how much an index of a decoded surface moved, and how unsure that is.

.. math:: \Delta = I(\bar b_B) - I(\bar b_A), \quad
    V \Delta = g^T \Sigma g, \quad g = (-\nabla I(\bar b_A), \nabla I(\bar b_B))

to first order in the bands, whose covariance :math:`\Sigma` over both dates comes from the joint
posterior of the latents: errors that the dates share cancel, and those that bands share count. It
holds where the bands' standard deviations are small beside the denominator of the index.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from terralatent.catalogs.errors import InputError
from terralatent.models.config import ModelConfig
from terralatent.pipeline.changes.arrays import Moved
from terralatent.pipeline.indices import INDICES, bands_of

__all__ = ["SurfaceIndex", "find_index"]

ROUNDING = 1e-6
"""Standard deviation of what float32 may make of an index; a part of what is unsure."""


@dataclass(frozen=True)
class SurfaceIndex:
    """An index of the bands of one sensor."""

    name: str
    """One of :data:`terralatent.pipeline.indices.INDICES`."""

    sensor: str
    """One of the model's."""

    bands: tuple[int, ...]
    """Places among the sensor's bands, in the order of the index's colours."""

    def moved(self, mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> Moved:
        """What is known of the index of n pixels.

        Args:
            mean: Of the bands at A and B, (n, 2, C).
            covariance: Of the bands at A, then those at B, (n, 2 C, 2 C).
        """
        index = INDICES[self.name]
        above, below = (
            np.array([weights.get(colour, 0.0) for colour in index.colours])
            for weights in (index.numerator, index.denominator)
        )
        denominator = mean @ below + index.constant
        denominator = np.where(denominator > 0, denominator, np.nan)
        value = mean @ above / denominator
        gradient = (above - value[..., None] * below) / denominator[..., None]
        turned = np.concatenate([-gradient[:, 0], gradient[:, 1]], axis=1)
        variance = np.einsum("ni,nij,nj->n", turned, covariance, turned).clip(min=0.0)
        difference = value[:, 1] - value[:, 0]
        std = np.sqrt(variance + ROUNDING**2)
        known = np.isfinite(difference)
        squared = np.where(known, difference / std, 0.0) ** 2
        parts = {"difference": difference, "difference_std": std}
        return Moved(squared, known.astype(np.int64), parts)


def find_index(config: ModelConfig, name: str, sensor: str | None) -> SurfaceIndex:
    """Find the bands of an index among those that a model decodes. Reads no weights.

    Args:
        config: Of the model.
        name: Of the index, in any case.
        sensor: Whose bands; without, the first of the model's sensors that has them, Sentinel-2
            before all others.

    Raises:
        InputError: If there is no such index or sensor, or the bands are not there.
    """
    known = {own.name: own for own in config.sensors}
    if name.lower() not in INDICES:
        raise InputError(f"There is no index {name!r}; there are {', '.join(INDICES)}.")
    if sensor is not None and sensor not in known:
        raise InputError(f"Sensor {sensor!r} is not one of the model's: {', '.join(known)}.")
    reflecting = [own for own in known if known[own].units == "1"]
    candidates = [sensor] if sensor else sorted(reflecting, key=lambda own: "2-l2a" not in own)
    wrong: InputError | None = None
    for own in candidates:
        bands = list(known[own].bands)
        data = xr.DataArray(np.zeros(len(bands)), {"band": bands}, ["band"])
        try:
            named = bands_of(data, name, own)
        except InputError as error:
            wrong = wrong or InputError(f"{own}: {error}")
            continue
        places = tuple(bands.index(named[colour]) for colour in INDICES[name.lower()].colours)
        return SurfaceIndex(name.lower(), own, places)
    raise wrong or InputError(
        f"The model decodes no reflectance, of which {name.upper()} could be made."
    )
