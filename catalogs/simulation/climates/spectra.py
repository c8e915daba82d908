"""What instruments see of water, snow, soil and stone: bands, and spectra that PROSAIL lacks.

Spectra stand at Sentinel-2's ten bands and are read off at the centres of another instrument's.
Soils after the groups of Stoner & Baumgardner (1981), "Characteristic variations in reflectance of
surface soils"; snow after Wiscombe & Warren (1980), "A model for the spectral albedo of snow": near
white in the visible, near black where ice absorbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MSI", "OLI", "ROCK", "SHALLOW_WATER", "SNOW", "SOILS", "Instrument"]


@dataclass(frozen=True, eq=False)
class Instrument:
    """An optical instrument; equal to none but itself, so that it can be a key."""

    bands: Mapping[str, tuple[float, float]]
    """Central wavelength and width in nm, by band."""

    @property
    def wavelengths(self) -> NDArray[np.float64]:
        """Centres of the bands, nm."""
        return np.array([centre for centre, _ in self.bands.values()])

    def read_off(self, spectrum: ArrayLike) -> NDArray[np.float64]:
        """What stands at Sentinel-2's bands, (10,), at the centres of these, (band,)."""
        return np.asarray(np.interp(self.wavelengths, MSI.wavelengths, np.asarray(spectrum)))


MSI = Instrument(
    MappingProxyType(
        {
            "B02": (492.4, 66.0),
            "B03": (559.8, 36.0),
            "B04": (664.6, 31.0),
            "B05": (704.1, 15.0),
            "B06": (740.5, 15.0),
            "B07": (782.8, 20.0),
            "B08": (832.8, 106.0),
            "B8A": (864.7, 21.0),
            "B11": (1613.7, 91.0),
            "B12": (2202.4, 175.0),
        }
    )
)
"""Sentinel-2A's bands (ESA, Sentinel-2 MSI user guide)."""

OLI = Instrument(
    MappingProxyType(
        {
            "B02": (482.0, 60.0),
            "B03": (561.4, 57.3),
            "B04": (654.6, 37.5),
            "B05": (864.7, 28.3),
            "B06": (1608.9, 84.7),
            "B07": (2200.7, 186.7),
        }
    )
)
"""Landsat 8's and 9's bands (USGS, Landsat 8 data users handbook)."""

SOILS = {
    "loam": (1.0,) * 10,
    "sand": (1.15, 1.25, 1.35, 1.37, 1.38, 1.39, 1.40, 1.40, 1.38, 1.35),
    "dark": (0.55, 0.52, 0.50, 0.50, 0.50, 0.50, 0.50, 0.50, 0.55, 0.55),
    "laterite": (0.52, 0.62, 1.12, 1.18, 1.20, 1.18, 1.10, 1.08, 1.22, 1.10),
}
"""Factors of PROSAIL's soil in the bands: loam as it is, quartz sand, black clay, and soil red with
iron oxides, which absorb in the blue and near 870 nm."""

ROCK = (0.125, 0.150, 0.178, 0.188, 0.195, 0.201, 0.207, 0.211, 0.262, 0.240)
SHALLOW_WATER = (0.052, 0.076, 0.078, 0.070, 0.050, 0.046, 0.040, 0.038, 0.012, 0.008)
"""Over mud, with some of it in the water: a flooded field."""

SNOW = (0.88, 0.87, 0.85, 0.84, 0.83, 0.81, 0.79, 0.77, 0.10, 0.08)
"""Settled, some days old."""
