"""Acquisitions of a simulated region: what truly was there, and what a satellite makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pystac
from numpy.typing import NDArray
from scipy.ndimage import shift as shifted

from terralatent.catalogs.simulation.archive import landsat_item, optical_item, radar_item
from terralatent.catalogs.simulation.climates.covers import LandCover
from terralatent.catalogs.simulation.climates.ground import Ground
from terralatent.catalogs.simulation.climates.spectra import MSI, OLI, Instrument
from terralatent.catalogs.simulation.draws import Draws, Key
from terralatent.catalogs.simulation.landsat import (
    FILL,
    OLI_NOISE,
    landsat_pixels,
    landsat_quality,
)
from terralatent.catalogs.simulation.landscape import smooth_noise
from terralatent.catalogs.simulation.orbits import Pass, sun
from terralatent.catalogs.simulation.radar import CALIBRATION, Radar, speckle
from terralatent.catalogs.simulation.sky import (
    FIELD_NOISE,
    PATCH_NOISE,
    PATCH_SCALE,
    PIXEL_NOISE,
    Residual,
    Sky,
    draw_residual,
    draw_sky,
    scene_classes,
)
from terralatent.catalogs.simulation.surface import COARSE, Surface, doubled, halved

__all__ = ["Satellites"]

REPROCESSED_EVERY = 24
"""One Sentinel-2 acquisition in so many is there a second time, reprocessed."""


@dataclass(frozen=True)
class Satellites:
    """Takes and writes acquisitions, each from random numbers of its own."""

    folder: Path
    """Of the catalogue."""
    ground: Ground
    surface: Surface
    radar: Radar
    draws: Draws

    def sky(self, taken: Pass) -> Sky:
        """The sky of an optical pass."""
        day, weather = self.surface.number(taken.time), self.surface.weather
        gloom, hazy = float(weather.gloom[day]), float(weather.haze[day])
        position, broken = sun(taken.time, *self.ground.middle), self.surface.world.climate.broken
        rng = self.draws.of(Key.SKY, taken)
        return draw_sky(self.ground.size // 2, gloom, position, rng, broken, hazy)

    def residual(self, taken: Pass) -> Residual:
        """What atmospheric correction and geolocation leave of an optical pass."""
        return draw_residual(self.draws.of(Key.RESIDUAL, taken))

    def calibration(self, taken: Pass) -> float:
        """What a whole radar scene is off, dB."""
        return float(CALIBRATION * self.draws.of(Key.CALIBRATION, taken).standard_normal())

    def take_optical(
        self, threshold: float, number: int, taken: Pass, sky: Sky, residual: Residual
    ) -> list[pystac.Item]:
        """Write a pass of Sentinel-2, and its reprocessed duplicate where it has one.

        Args:
            threshold: What the mask notices, see
                :func:`terralatent.catalogs.simulation.sky.mask_threshold`.
            number: Of the pass, from 0; one in :data:`REPROCESSED_EVERY` has a duplicate.
            taken: The pass.
            sky: Above it.
            residual: See :meth:`residual`.
        """
        day = self.surface.number(taken.time)
        surface = self.surface.reflectance(day, taken.track)
        images = self._measured(taken, surface, sky, residual, MSI, PIXEL_NOISE)
        red, infrared = halved(images["B04"]), halved(images["B08"])
        ndvi = (infrared - red) / np.maximum(infrared + red, 1e-3)
        water = self.surface.cover(day)[::2, ::2] == LandCover.WATER
        classes = scene_classes(sky, threshold, ndvi, water, halved(self.surface.snow(day)))
        if taken.track.edge is not None:
            swath = taken.track.swath(self.ground.size // 2)
            classes[~swath] = 0
            for image in images.values():
                image[~(swath if image.shape == swath.shape else doubled(swath))] = np.nan
        cover = 100 * float(np.isin(classes, (8, 9, 10)).mean())
        position = sun(taken.time, *self.ground.middle)
        reprocessed = number % REPROCESSED_EVERY == REPROCESSED_EVERY // 3
        return [
            optical_item(
                self.folder, self.ground, taken, images, classes,
                cloud_cover=cover, sun=position, reprocessed=newer,
            )
            for newer in ((False, True) if reprocessed else (False,))
        ]  # fmt: skip

    def take_landsat(
        self, threshold: float, number: int, taken: Pass, sky: Sky, residual: Residual
    ) -> list[pystac.Item]:
        """Write a pass of Landsat, as :meth:`take_optical` does."""
        day = self.surface.number(taken.time)
        surface = self.surface.sharp(day, OLI)
        images = self._measured(taken, surface, sky, residual, OLI, OLI_NOISE)
        coarse = {name: landsat_pixels(band) for name, band in images.items()}
        quality = landsat_quality(
            sky, threshold, self.surface.cover(day) == LandCover.WATER, self.surface.snow(day)
        )
        beyond = landsat_pixels(taken.track.swath(self.ground.size).astype(np.float32)) < 0.5
        quality[beyond] = FILL
        for image in coarse.values():
            image[beyond] = np.nan
        cover = 100 * float((quality & 0b1010 != 0).mean())
        position = sun(taken.time, *self.ground.middle)
        item = landsat_item(
            self.folder, self.ground, taken, coarse, quality, cloud_cover=cover, sun=position
        )
        return [item]

    def take_radar(self, taken: Pass) -> pystac.Item:
        """Write a radar pass."""
        day = self.surface.number(taken.time)
        power = self.radar.backscatter(day, taken.track, self.draws.of(Key.FIELDS, taken))
        power = power * 10 ** (self.calibration(taken) / 10)
        power = power * speckle(self.ground.size, self.draws.of(Key.SPECKLE, taken))
        if taken.track.edge is not None:
            power[:, ~taken.track.swath(self.ground.size)] = np.nan
        images = {"vv": power[0].astype(np.float32), "vh": power[1].astype(np.float32)}
        return radar_item(self.folder, self.ground, taken, images)

    def _measured(
        self,
        taken: Pass,
        surface: NDArray[np.float32],
        sky: Sky,
        residual: Residual,
        instrument: Instrument,
        noise: tuple[float, float],
    ) -> dict[str, NDArray[np.float32]]:
        """Reflectance as the product has it, by band; bands of 20 m have pixels of that size.

        Args:
            taken: The pass.
            surface: Below the sky, (band, y, x) at 10 m.
            sky: Above it.
            residual: See :meth:`residual`.
            instrument: Whose bands.
            noise: Standard deviation of a pixel's noise: constant, and as a share.
        """
        rng, land = self.draws.of(Key.NOISE, taken), self.surface.land
        moved = np.stack([shifted(b, residual.shift, order=1, mode="nearest") for b in surface])
        fields = FIELD_NOISE * rng.standard_normal(land.parcels)[land.parcel]
        patches = PATCH_NOISE * smooth_noise(self.ground.size, PATCH_SCALE, rng)
        seen = sky.over(moved * (1 + fields + patches).astype(np.float32), instrument)
        offset = residual.over(instrument)[:, None, None]
        measured = (1 + residual.gain) * seen + offset
        images = {}
        for name, band in zip(instrument.bands, measured.astype(np.float32), strict=True):
            image = halved(band) if instrument is MSI and name in COARSE else band
            deviation = noise[0] + noise[1] * np.abs(image)
            own = deviation * rng.standard_normal(image.shape, np.float32)
            images[name] = np.asarray(image + own, dtype=np.float32)
        return images
