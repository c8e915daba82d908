"""What an optical instrument sees of a canopy: PROSAIL, over its bands, as a table.

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

from terralatent.catalogs.simulation.climates.covers import Plant
from terralatent.catalogs.simulation.climates.spectra import MSI, OLI, Instrument

__all__ = ["BANDS", "CanopyTable", "Leaf", "over_bands", "soil_reflectance"]

BANDS = MSI.bands
"""Sentinel-2's, see :data:`~terralatent.catalogs.simulation.climates.spectra.MSI`."""

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
    Plant.RICE: Leaf(1.5, 42, 0.014, 0.0050, 64),
    Plant.SOY: Leaf(1.6, 45, 0.015, 0.0045, 44),
    Plant.SORGHUM: Leaf(1.5, 42, 0.012, 0.0060, 55),
    Plant.BROADLEAF: Leaf(1.9, 55, 0.015, 0.0110, 46, shade=0.68),
    Plant.CONIFER: Leaf(2.2, 46, 0.022, 0.0180, 58, shade=0.50),
    Plant.SHRUB: Leaf(1.9, 34, 0.009, 0.0120, 55, shade=0.80),
    Plant.DRY_GRASS: Leaf(1.6, 34, 0.010, 0.0065, 60),
    Plant.PALM: Leaf(1.8, 52, 0.016, 0.0100, 50, shade=0.72),
    Plant.REED: Leaf(1.6, 40, 0.013, 0.0070, 66, shade=0.92),
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


def over_bands(spectrum: NDArray[np.float64], instrument: Instrument = MSI) -> NDArray[np.float64]:
    """Integrate spectra (..., 2101) at 400 to 2500 nm over the bands, (..., band).

    A band passes light evenly over its width and falls off at its edges.
    """
    return np.asarray(spectrum) @ _responses(instrument).T


def soil_reflectance(
    brightness: NDArray[np.float32], moisture: float, instrument: Instrument = MSI
) -> NDArray[np.float32]:
    """Reflectance of bare loam in the bands, (band, y, x).

    PROSAIL's mixture of a dry and a wet spectrum.

    Args:
        brightness: Its scalar, (y, x).
        moisture: How wet, 0 (air-dry) to 1.
        instrument: Whose bands.
    """
    dry, wet = _soils(instrument)
    mixture = (1 - moisture) * dry + moisture * wet
    return (mixture[:, None, None] * brightness).astype(np.float32)


@dataclass(frozen=True)
class CanopyTable:
    """Reflectance in the bands by (plant, senescence, leaf area, soil, band), float32."""

    values: NDArray[np.float32]

    @classmethod
    def compute(
        cls,
        sun_zenith: float,
        view_zenith: float,
        azimuth: float,
        plants: Sequence[Plant] = tuple(Plant),
        instrument: Instrument = MSI,
    ) -> CanopyTable:
        """Run PROSAIL at every node; what was run in this process is kept.

        Args:
            sun_zenith: Of the sun, degrees.
            view_zenith: Of the satellite, degrees.
            azimuth: Between sun and satellite, degrees.
            plants: Those that are needed; the others get zeros.
            instrument: Whose bands.
        """
        shape = (len(Plant), len(SENESCENCE), len(LEAF_AREA), len(SOIL), len(instrument.bands))
        values = np.zeros(shape, np.float32)
        for plant in plants:
            values[plant] = _canopy(plant, sun_zenith, view_zenith, azimuth)[instrument]
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


@lru_cache(maxsize=8192)
def _canopy(
    plant: Plant, sun_zenith: float, view_zenith: float, azimuth: float
) -> dict[Instrument, NDArray[np.float32]]:
    """Reflectance of one plant in the bands of both instruments, by (senescence, leaf area, soil,
    band): one run of SAIL serves them and all soils.
    """
    from prosail import run_prospect, run_sail

    leaf, nodes = LEAVES[plant], (len(SENESCENCE), len(LEAF_AREA), len(SOIL))
    seen = {kind: np.empty((*nodes, len(kind.bands)), np.float32) for kind in (MSI, OLI)}
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
            for kind, values in seen.items():
                bare = np.outer(SOIL, np.ones(len(kind.bands)))
                values[i, j] = leaf.shade * ((1 - GAPS) * over_bands(above, kind) + GAPS * bare)
    return seen


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
def _responses(instrument: Instrument) -> NDArray[np.float64]:
    rows = []
    for centre, width in instrument.bands.values():
        edge = width / 12
        away = np.abs(WAVELENGTHS - centre) - width / 2
        row = 1 / (1 + np.exp((away / edge).clip(-60, 60)))
        rows.append(row / row.sum())
    return np.stack(rows)


@lru_cache
def _soils(instrument: Instrument) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PROSAIL's dry and wet soil in the bands."""
    from prosail import spectral_lib

    soil = spectral_lib.soil
    return over_bands(soil.rsoil1, instrument), over_bands(soil.rsoil2, instrument)


def _places(nodes: NDArray[np.float64], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Where ``values`` lie between ``nodes``, counted in nodes; the outer ones beyond them."""
    return np.asarray(np.interp(values, nodes, np.arange(len(nodes))))
