"""Acquisitions of a simulated region: what truly was there, and what a satellite makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pystac
from numpy.typing import NDArray
from scipy.ndimage import shift as shifted

from terralatent.catalogs.simulation.archive import Ground, optical_item, radar_item
from terralatent.catalogs.simulation.canopy import BANDS
from terralatent.catalogs.simulation.draws import Draws, Key
from terralatent.catalogs.simulation.landscape import LandCover, smooth_noise
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
from terralatent.catalogs.simulation.surface import COARSE, Surface, halved

__all__ = ["Satellites"]


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
        gloom = float(self.surface.weather.gloom[self.surface.number(taken.time)])
        position = sun(taken.time, *self.ground.middle)
        return draw_sky(self.ground.size // 2, gloom, position, self.draws.of(Key.SKY, taken))

    def residual(self, taken: Pass) -> Residual:
        """What atmospheric correction and geolocation leave of an optical pass."""
        return draw_residual(self.draws.of(Key.RESIDUAL, taken))

    def calibration(self, taken: Pass) -> float:
        """What a whole radar scene is off, dB."""
        return float(CALIBRATION * self.draws.of(Key.CALIBRATION, taken).standard_normal())

    def take_optical(
        self, taken: Pass, sky: Sky, residual: Residual, threshold: float, *, reprocessed: bool
    ) -> list[pystac.Item]:
        """Write an optical pass, and its reprocessed duplicate where it has one.

        Args:
            taken: The pass.
            sky: Above it.
            residual: See :meth:`residual`.
            threshold: What the mask notices, see
                :func:`terralatent.catalogs.simulation.sky.mask_threshold`.
            reprocessed: Whether there is a duplicate.
        """
        day = self.surface.number(taken.time)
        surface = self.surface.reflectance(day, taken.track)
        images = self._seen(taken, surface, sky, residual)
        red, infrared = halved(images["B04"]), halved(images["B08"])
        ndvi = (infrared - red) / np.maximum(infrared + red, 1e-3)
        water = self.surface.cover(day)[::2, ::2] == LandCover.WATER
        classes = scene_classes(sky, threshold, ndvi, water)
        cover = 100 * float(np.isin(classes, (8, 9, 10)).mean())
        position = sun(taken.time, *self.ground.middle)
        return [
            optical_item(
                self.folder, self.ground, taken, images, classes,
                cloud_cover=cover, sun=position, reprocessed=newer,
            )
            for newer in ((False, True) if reprocessed else (False,))
        ]  # fmt: skip

    def take_radar(self, taken: Pass) -> pystac.Item:
        """Write a radar pass."""
        day = self.surface.number(taken.time)
        power = self.radar.backscatter(day, taken.track, self.draws.of(Key.FIELDS, taken))
        power = power * 10 ** (self.calibration(taken) / 10)
        power = power * speckle(self.ground.size, self.draws.of(Key.SPECKLE, taken))
        images = {"vv": power[0].astype(np.float32), "vh": power[1].astype(np.float32)}
        return radar_item(self.folder, self.ground, taken, images)

    def _seen(
        self, taken: Pass, surface: NDArray[np.float32], sky: Sky, residual: Residual
    ) -> dict[str, NDArray[np.float32]]:
        """Reflectance as the product has it, by band, each with pixels of its own size."""
        rng, land = self.draws.of(Key.NOISE, taken), self.surface.land
        moved = np.stack([shifted(b, residual.shift, order=1, mode="nearest") for b in surface])
        fields = FIELD_NOISE * rng.standard_normal(land.parcels)[land.parcel]
        patches = PATCH_NOISE * smooth_noise(self.ground.size, PATCH_SCALE, rng)
        seen = sky.over(moved * (1 + fields + patches).astype(np.float32))
        measured = (1 + residual.gain) * seen + residual.offset[:, None, None]
        images = {}
        for name, band in zip(BANDS, measured.astype(np.float32), strict=True):
            image = halved(band) if name in COARSE else band
            deviation = PIXEL_NOISE[0] + PIXEL_NOISE[1] * np.abs(image)
            noise = deviation * rng.standard_normal(image.shape, np.float32)
            images[name] = np.asarray(image + noise, dtype=np.float32)
        return images
