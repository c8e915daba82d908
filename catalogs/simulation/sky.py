"""The sky over a simulated region: clouds, their shadows and haze, what the mask makes of them, and
what atmospheric correction leaves behind on each date.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2
from scipy.special import ndtri

from terralatent.catalogs.simulation.canopy import BANDS
from terralatent.catalogs.simulation.climates.spectra import MSI, Instrument
from terralatent.catalogs.simulation.surface import doubled

__all__ = ["Residual", "Sky", "SkyClass", "draw_residual", "draw_sky", "scene_classes"]


class SkyClass(IntEnum):
    """What truly was above a pixel."""

    CLEAR = 0
    HAZE = 1
    THIN_CLOUD = 2
    CLOUD = 3
    SHADOW = 4


FALSE_ALARMS = 0.012
"""Share of clear pixels that the mask takes for cloud or shadow."""

HAZY_DATES, HAZE_DEPTH = 0.45, 0.08
"""Share of dates with haze, and its mean optical depth in the blue there."""

NOT_CLEAR = 0.06
"""Opacity in the blue, or loss of light, from which a pixel is not clear."""

CLOUD = (0.58, 0.58, 0.59, 0.60, 0.61, 0.62, 0.63, 0.64, 0.42, 0.33)
HAZE = (0.46, 0.42, 0.39, 0.38, 0.37, 0.36, 0.35, 0.35, 0.22, 0.18)
"""Reflectance in the bands."""

WAVELENGTHS = MSI.wavelengths
HAZE_FADES = (WAVELENGTHS / WAVELENGTHS[0]) ** -1.0
"""Optical depth of haze in the bands beside that in the blue (Angstrom's law)."""

SHADOW_LIGHT = np.interp(WAVELENGTHS, [490, 860, 1600, 2200], [0.62, 0.42, 0.36, 0.34])
"""Light that is left in the shadow of a thick cloud."""

SNOWY, ICE = 0.45, 0.92
"""Share of a pixel from which a mask can see snow, and the share of such pixels where it does."""

AEROSOL, AEROSOL_TAILS = 0.008, 2.5
"""Scale, in reflectance of the blue, and degrees of freedom of what aerosols leave on a date."""

GAIN, GAIN_TAILS = 0.07, 4.0
"""Scale and degrees of freedom of the factor by which a date is too bright or too dark."""

BAND_ERROR = 0.004
"""Standard deviation of an offset of one band on one date, in reflectance."""

SHIFT = 0.22
"""Standard deviation of a date's misregistration along y and x, in pixels of 10 m."""

PIXEL_NOISE = (0.006, 0.03)
"""Standard deviation of the noise of a pixel: constant, and as a share of the reflectance."""

FIELD_NOISE, PATCH_NOISE, PATCH_SCALE = 0.055, 0.05, 2.0
"""Standard deviations of the factors by which fields, and patches of so many pixels, differ on a
date from what they are in the mean of days: leaves turn, the surface is wet or dry."""


@dataclass(frozen=True)
class Sky:
    """One date at 20 m, (y, x)."""

    cloud: NDArray[np.float32]
    """Opacity of clouds, 0 to 1."""
    haze: NDArray[np.float32]
    """Optical depth of haze in the blue."""
    shadow: NDArray[np.float32]
    """Depth of shadows, 0 to 1."""
    noticed: NDArray[np.float32]
    """How easily the mask notices what is there, in no units: it sees the highest values."""
    alarm: NDArray[np.float32]
    """How much a clear pixel resembles a cloud, standard normal."""

    @property
    def classes(self) -> NDArray[np.uint8]:
        """:class:`SkyClass` of each pixel."""
        opacity = 1 - np.exp(-self.haze)
        kinds = np.where(opacity > NOT_CLEAR, SkyClass.HAZE, SkyClass.CLEAR)
        kinds = np.where(self.shadow > NOT_CLEAR, SkyClass.SHADOW, kinds)
        kinds = np.where(self.cloud > NOT_CLEAR, SkyClass.THIN_CLOUD, kinds)
        return np.where(self.cloud > 0.5, SkyClass.CLOUD, kinds).astype(np.uint8)

    def over(
        self, surface: NDArray[np.float32], instrument: Instrument = MSI
    ) -> NDArray[np.float32]:
        """Return what is seen of ``surface``, reflectance (band, y, x) at 10 m, from above."""
        light, fades, haze, white = (
            instrument.read_off(spectrum)[:, None, None]
            for spectrum in (SHADOW_LIGHT, HAZE_FADES, HAZE, CLOUD)
        )
        dark = doubled(self.shadow) * (1 - light)
        seen = surface * (1 - dark)
        through = np.exp(-doubled(self.haze) * fades)
        seen = through * seen + (1 - through) * haze
        cloud = doubled(self.cloud)
        return np.asarray((1 - cloud) * seen + cloud * white, np.float32)


def draw_sky(
    size: int,
    gloom: float,
    sun: tuple[float, float],
    rng: Generator,
    broken: tuple[float, float],
    hazy: float = 1.0,
) -> Sky:
    """Draw the sky of a date.

    Args:
        size: Pixels of 20 m along y and x.
        gloom: How cloudy, 0 to 1.
        sun: Zenith and azimuth, degrees: where shadows fall.
        rng: Of this date.
        broken: Gloom below which no cloud is in the sky, and above which nothing else is.
        hazy: Factor of the depth of haze, and of how often there is any, up to all dates.
    """
    period = 1 << int(np.ceil(np.log2(max(2 * size, 256))))
    share = np.clip((gloom - broken[0]) / (broken[1] - broken[0]), 1e-4, 1 - 1e-4)
    texture = _fractal(period, 3.1, rng)
    thick = np.exp(0.5 * _fractal(period, 2.6, rng)) * (1.0 if share < 0.999 else 2.5)
    depth = thick * 3.2 * np.maximum(texture + float(ndtri(share)), 0)
    cloud = 1 - np.exp(-depth)

    height = rng.uniform(700, 2600) * np.tan(np.radians(min(sun[0], 72.0))) / 20.0
    away = np.radians(sun[1] + 180.0)
    moved = (round(-height * np.cos(away)), round(height * np.sin(away)))
    shadow = np.roll(cloud, moved, (0, 1)) * (1 - cloud)

    amount = hazy * rng.exponential(HAZE_DEPTH) if rng.random() < HAZY_DATES * hazy else 0.0
    haze = amount * np.exp(0.9 * _fractal(period, 3.4, rng) - 0.4)
    # Thin rims of clouds reach further than what one sees as cloud.
    haze = haze + 0.05 * np.maximum(texture + float(ndtri(share)) + 0.35, 0) * (share > 2e-4)

    inside = (slice(size), slice(size))
    strength = cloud + 0.6 * shadow + 0.35 * (1 - np.exp(-haze))
    # A mask errs by places and by whole dates more than by pixels.
    luck = 0.30 * _fractal(period, 2.4, rng) + 0.18 * rng.standard_normal()
    noticed = np.log(strength + 1e-6) + 1.2 * luck
    return Sky(
        *(
            layer[inside].astype(np.float32)
            for layer in (cloud, haze, shadow, noticed, _fractal(period, 2.0, rng))
        )
    )


def mask_threshold(skies: list[Sky], caught: float) -> float:
    """Return the :attr:`Sky.noticed` from which the mask catches a share over all dates."""
    noticed = np.concatenate([sky.noticed[sky.classes > SkyClass.CLEAR] for sky in skies])
    return float(np.quantile(noticed, 1 - caught)) if noticed.size else 0.0


def scene_classes(
    sky: Sky,
    threshold: float,
    ndvi: NDArray[np.float32],
    water: NDArray[np.bool_],
    snow: NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Return the mask band SCL as the processor would fill it, (y, x) at 20 m.

    Args:
        sky: The date.
        threshold: See :func:`mask_threshold`.
        ndvi: Of what is seen, (y, x).
        water: Where there is water, (y, x).
        snow: Share of each pixel that shows snow, (y, x).
    """
    truth = sky.classes
    caught = (truth > SkyClass.CLEAR) & (sky.noticed >= threshold)
    ice = (snow > SNOWY) & (sky.alarm > ndtri(1 - ICE))
    ground = np.select([ice, water, ndvi > 0.38, ndvi < 0.26], [11, 6, 4, 5], 7)
    named = np.select(
        [truth == SkyClass.CLOUD, truth == SkyClass.THIN_CLOUD, truth == SkyClass.SHADOW],
        [np.where(sky.cloud > 0.75, 9, 8), 8, 3],
        10,
    )
    alarm = (truth == SkyClass.CLEAR) & (sky.alarm > ndtri(1 - FALSE_ALARMS))
    return np.where(caught, named, np.where(alarm, 8, ground)).astype(np.uint8)


@dataclass(frozen=True)
class Residual:
    """What atmospheric correction and geolocation leave of one date, the same over the scene."""

    offset: NDArray[np.float64]
    """Reflectance, (band,)."""
    gain: float
    """Factor beside 1."""
    shift: NDArray[np.float64]
    """Along y and x, pixels of 10 m."""

    def over(self, instrument: Instrument) -> NDArray[np.float64]:
        """The offset in an instrument's bands, (band,)."""
        return instrument.read_off(self.offset)


def draw_residual(rng: Generator) -> Residual:
    """Draw the residual of a date."""
    aerosol = AEROSOL * rng.standard_t(AEROSOL_TAILS)
    aerosol = float(np.clip(aerosol, -0.04, 0.06))
    gain = float(np.clip(GAIN * rng.standard_t(GAIN_TAILS), -0.3, 0.4))
    offset = aerosol * HAZE_FADES + BAND_ERROR * rng.standard_normal(len(BANDS))
    return Residual(offset, gain, SHIFT * rng.standard_normal(2))


def _fractal(period: int, slope: float, rng: Generator) -> NDArray[np.float32]:
    """Noise of unit variance with the power spectrum k ** -slope, (period, period), periodic."""
    spectrum = rfft2(rng.standard_normal((period, period), np.float32))
    return np.asarray(irfft2(spectrum * _gain(period, slope), s=(period, period)))


@lru_cache
def _gain(period: int, slope: float) -> NDArray[np.float32]:
    """Factors of the waves of white noise, (period, period / 2 + 1), for an even ``period``."""
    k = np.hypot(np.fft.fftfreq(period)[:, None], np.fft.rfftfreq(period)[None, :]) * period
    # Weather systems are larger than the region: below the second wave all is even.
    gain = np.maximum(k, 2.0) ** (-slope / 2)
    gain[0, 0] = 0.0
    both = np.full(period // 2 + 1, 2.0)  # waves of a real field come in pairs, but for two columns
    both[[0, -1]] = 1.0
    return np.asarray(gain / np.sqrt((both * gain**2).sum() / period**2), dtype=np.float32)
