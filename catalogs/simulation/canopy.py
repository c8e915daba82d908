"""What Sentinel-2 sees of a canopy: PROSAIL, integrated over the bands, as a table.

PROSAIL (Jacquemoud et al. 2009, "PROSPECT + SAIL models: a review of use for vegetation
characterization") is run at the nodes of a table over plant, senescence, leaf area and the
reflectance of the soil below, for one position of sun and satellite; pixels are interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from terralatent.catalogs.simulation.seasons import Plant

__all__ = ["BANDS", "CanopyTable", "Leaf", "over_bands", "soil_reflectance"]

BANDS = {
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
"""Central wavelength and width in nm of Sentinel-2A's bands (ESA, Sentinel-2 MSI user guide)."""

WAVELENGTHS = np.arange(400, 2501)
"""nm, as PROSAIL has them."""


@dataclass(frozen=True)
class Leaf:
    """Green leaves of a plant in the parameters of PROSPECT-D, and how they stand."""

    layers: float
    """Structure, layers."""
    chlorophyll: float
    """ug/cm2."""
    water: float
    """cm."""
    dry_matter: float
    """g/cm2."""
    angle: float
    """Mean inclination, degrees."""
    shade: float = 1.0
    """Share of the light that gaps between crowns and rows do not swallow."""


LEAVES = {
    Plant.WHEAT: Leaf(1.5, 46, 0.013, 0.0055, 62),
    Plant.BARLEY: Leaf(1.45, 40, 0.011, 0.0050, 58),
    Plant.MAIZE: Leaf(1.45, 50, 0.014, 0.0050, 52),
    Plant.POTATO: Leaf(1.65, 38, 0.020, 0.0045, 38),
    Plant.BEET: Leaf(1.75, 44, 0.026, 0.0055, 42),
    Plant.PEA: Leaf(1.6, 42, 0.018, 0.0042, 46),
    Plant.GRASS: Leaf(1.55, 38, 0.014, 0.0050, 56),
    Plant.TREES: Leaf(1.7, 44, 0.011, 0.0085, 52, shade=0.72),
    Plant.COVER_CROP: Leaf(1.6, 36, 0.019, 0.0042, 48),
    Plant.STUBBLE: Leaf(1.8, 12, 0.004, 0.0060, 60),
}

AGED_CHLOROPHYLL, AGED_WATER, AGED_BROWN = 1.0, 0.001, 0.5
"""What is left in aged leaves, and their brown pigments."""

HOT_SPOT = 0.05
"""Size of the leaves beside the height of the canopy."""

GAPS = 0.08
"""Share of a closed canopy through which one sees the ground: tramlines, rows, losses."""

SENESCENCE = np.array([0.0, 0.3, 0.65, 1.0])
LEAF_AREA = np.array([0.0, 0.25, 0.5, 1.0, 1.5, 2.2, 3.0, 4.0, 5.5, 8.0])
SOIL = np.array([0.0, 0.15, 0.35, 0.6])
"""Nodes of the table."""


def over_bands(spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integrate spectra (..., 2101) at 400 to 2500 nm over the bands, (..., 10).

    A band passes light evenly over its width and falls off at its edges.
    """
    return np.asarray(spectrum) @ _responses().T


def soil_reflectance(brightness: NDArray[np.float32], moisture: float) -> NDArray[np.float32]:
    """Reflectance of bare soil in the bands, (band, y, x).

    PROSAIL's mixture of a dry and a wet spectrum.

    Args:
        brightness: Its scalar, (y, x).
        moisture: How wet, 0 (air-dry) to 1.
    """
    dry, wet = _soils()
    mixture = (1 - moisture) * dry + moisture * wet
    return (mixture[:, None, None] * brightness).astype(np.float32)


@dataclass(frozen=True)
class CanopyTable:
    """Reflectance in the bands by (plant, senescence, leaf area, soil, band), float32."""

    values: NDArray[np.float32]

    @classmethod
    def compute(cls, sun_zenith: float, view_zenith: float, azimuth: float) -> CanopyTable:
        """Run PROSAIL at every node.

        Args:
            sun_zenith: Of the sun, degrees.
            view_zenith: Of the satellite, degrees.
            azimuth: Between sun and satellite, degrees.
        """
        from prosail import run_prospect, run_sail

        values = np.empty(
            (len(Plant), len(SENESCENCE), len(LEAF_AREA), len(SOIL), len(BANDS)), np.float32
        )
        for plant, leaf in LEAVES.items():
            for i, aged in enumerate(SENESCENCE):
                chlorophyll = (1 - aged) * leaf.chlorophyll + aged * AGED_CHLOROPHYLL
                water = (1 - aged) * leaf.water + aged * AGED_WATER
                _, reflected, transmitted = run_prospect(
                    leaf.layers, chlorophyll, chlorophyll / 5, AGED_BROWN * aged, water,
                    leaf.dry_matter, ant=0.0, prospect_version="D",
                )  # fmt: skip
                for j, area in enumerate(LEAF_AREA):
                    terms = run_sail(
                        reflected, transmitted, area, leaf.angle, HOT_SPOT, sun_zenith,
                        view_zenith, azimuth, rsoil0=np.zeros(len(WAVELENGTHS)), factor="ALLALL",
                    )  # fmt: skip
                    above = np.stack([_above_soil(terms, level) for level in SOIL])
                    bare = np.outer(SOIL, np.ones(len(BANDS)))
                    values[plant, i, j] = leaf.shade * (
                        (1 - GAPS) * over_bands(above) + GAPS * bare
                    )
        return cls(values)

    def towards(self, other: CanopyTable, share: float) -> CanopyTable:
        """Return the table between this and ``other``, ``share`` of the way."""
        return CanopyTable((1 - np.float32(share)) * self.values + np.float32(share) * other.values)

    def reflectance(
        self,
        plant: NDArray[np.int8],
        senescence: NDArray[np.float32],
        leaf_area: NDArray[np.float32],
        soil: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Interpolate pixels, linearly.

        Args:
            plant: :class:`Plant` of each pixel, (y, x).
            senescence: (y, x).
            leaf_area: m2/m2, (y, x).
            soil: Reflectance below the canopy, (band, y, x).

        Returns:
            Reflectance, (band, y, x).
        """
        canopy = (plant, _places(SENESCENCE, senescence), _places(LEAF_AREA, leaf_area))
        bands = [
            map_coordinates(self.values[..., n], [*canopy, _places(SOIL, ground)], order=1)
            for n, ground in enumerate(soil)
        ]
        return np.stack(bands)


def _above_soil(terms: Sequence[Any], soil: float) -> NDArray[np.float64]:
    """Reflectance of a canopy above a soil, from SAIL's reflectances and transmittances.

    What comes straight through the canopy twice, and what soil and canopy pass to and fro.
    """
    (
        straight_down,
        straight_up,
        there_and_back,
        below,
        _,
        _,
        scattered_down,
        _,
        scattered_up,
        alone,
    ) = terms[:10]
    bounces = soil / (1 - soil * below)
    up = (straight_down + scattered_down) * scattered_up
    up = up + (scattered_down + straight_down * soil * below) * straight_up
    spectrum = alone + there_and_back * soil + up * bounces
    return np.broadcast_to(spectrum, WAVELENGTHS.shape)


@lru_cache
def _responses() -> NDArray[np.float64]:
    rows = []
    for centre, width in BANDS.values():
        edge = width / 12
        away = np.abs(WAVELENGTHS - centre) - width / 2
        row = 1 / (1 + np.exp((away / edge).clip(-60, 60)))
        rows.append(row / row.sum())
    return np.stack(rows)


@lru_cache
def _soils() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The bands of PROSAIL's dry and wet soil."""
    from prosail import spectral_lib

    soil = spectral_lib.soil
    return over_bands(soil.rsoil1), over_bands(soil.rsoil2)


def _places(nodes: NDArray[np.float64], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Where ``values`` lie between ``nodes``, counted in nodes; the outer ones beyond them."""
    return np.asarray(np.interp(values, nodes, np.arange(len(nodes))))
