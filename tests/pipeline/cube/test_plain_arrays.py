"""Series whose arrays are laid out otherwise, as users have them, are the same series."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.gpvae import GPVAE
from terralatent.pipeline.cube.series import SensorSeries, SeriesBlock

BANDS = ("B02", "B03", "B04")


def series(change: Callable[[np.ndarray], np.ndarray]) -> SensorSeries:
    random = np.random.default_rng(0)
    return SensorSeries(
        bands=BANDS,
        units="1",
        days=np.arange(5.0),
        incidence=np.full(5, np.nan, np.float32),
        packed=change(random.integers(0, 9000, (6, 5, 3)).astype(np.int16)),
        clear=change(random.random((6, 5)) < 0.7),
        distance=change(np.full((6, 5), 16, np.float32)),
        scale_factor=1e-4,
        add_offset=0.0,
        fill_value=0,
    )


def read_only(values: np.ndarray) -> np.ndarray:
    values.flags.writeable = False
    return values


def other_endian(values: np.ndarray) -> np.ndarray:
    return values.astype(values.dtype.newbyteorder())


@pytest.mark.parametrize("change", [read_only, other_endian, np.asfortranarray])
def test_the_layout_of_arrays_means_nothing(change: Callable[[np.ndarray], np.ndarray]) -> None:
    sensor = SensorConfig(name="s2", bands=BANDS, units="1", centre=(0.3,) * 3, spread=(0.1,) * 3)
    model = GPVAE(ModelConfig(sensors=(sensor,), latents=3))
    plain, other = (SeriesBlock.of((2, 3), {"s2": series(own)}) for own in (np.array, change))

    found = model.encode(other.packed(slice(None)))
    wanted = model.encode(plain.packed(slice(None)))

    np.testing.assert_array_equal(found.w, wanted.w)
    np.testing.assert_array_equal(found.eta, wanted.eta)
    np.testing.assert_array_equal(other.observations, plain.observations)
    asked = np.array([0.5, 4.0])
    np.testing.assert_array_equal(
        other.days_to_observation(asked), plain.days_to_observation(asked)
    )
