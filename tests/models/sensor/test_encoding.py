"""Observations encoded from packed integers are those encoded from their values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import PackedObservations, Sites
from terralatent.models.sensor.encoding import MOST_BANDS, is_compiled

PIXELS, FILL = 40, -7
DAYS = {"optical": 19, "radar": 33}
BANDS = {"optical": 5, "radar": 2}

# What float32 leaves of sums of some hundred products, at precisions of up to a hundred.
CLOSE = {"rtol": 2e-5, "atol": 2e-4}


def make(*, fills: bool, hidden: int | None = 6, bands: int = BANDS["optical"]) -> GPVAE:
    """Networks of odd sizes, awake in all layers, with bands that say something of each other."""
    counts = {**BANDS, "optical": bands}
    sensors = tuple(
        SensorConfig(
            name=name,
            bands=tuple(f"b{band}" for band in range(count)),
            units="dB" if name == "radar" else "1",
            centre=(0.3,) * count,
            spread=(0.7,) * count,
            hidden=hidden if name == "radar" else None,
        )
        for name, count in counts.items()
    )
    model = GPVAE(ModelConfig(sensors=sensors, latents=3, hidden=17, fills_bands=fills or None))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    for name, count in counts.items():
        encoder = model.sensor(name).encoder
        share = torch.rand(encoder.share.shape, generator=generator)
        encoder.share.copy_(share / share.sum(-1, keepdim=True))
        if encoder.fill is not None:
            root = torch.randn(count, count, generator=generator)
            encoder.fill.relate(torch.rand(count, generator=generator), root @ root.T)
    return model.eval()


def pack(name: str, dtype: str = "int16", seed: int = 0, bands: int | None = None
         ) -> PackedObservations:  # fmt: skip
    """Whole and partly valid observations, and clear dates without any number; a band too few."""
    random = np.random.default_rng([seed, len(name)])
    count = bands or BANDS[name]
    there = [band for band in range(count) if count < 3 or band != 1]
    shape = (PIXELS + 3, DAYS[name], len(there))
    packed = random.integers(-3000, 9000, shape).astype(dtype)
    packed[random.random(shape) < 0.2] = FILL
    packed[random.random(shape[:2]) < 0.2] = FILL
    incidence = random.uniform(30, 46, DAYS[name]).astype(np.float32)
    incidence[::4] = np.nan
    return PackedObservations(
        days=torch.from_numpy(np.sort(random.uniform(17_000, 17_400, DAYS[name]))),
        incidence=torch.from_numpy(incidence),
        packed=packed,
        clear=random.random(shape[:2]) < 0.6,
        distance=random.uniform(0, 20, shape[:2]).astype(np.float32),
        pixels=random.permutation(PIXELS),
        bands=np.array(there),
        band_count=count,
        numbers=(FILL, 1e-4, -0.1),
    )


def seen(**given: object) -> dict[str, PackedObservations]:
    return {name: pack(name, **given) for name in DAYS}  # type: ignore[arg-type]


def alike(found: Sites, wanted: Sites) -> None:
    for ours, theirs in ((found.w, wanted.w), (found.eta, wanted.eta)):
        np.testing.assert_allclose(ours, theirs, **CLOSE)
        assert torch.equal(ours == 0, theirs == 0)


@pytest.mark.parametrize("fills", [False, True])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_sites_are_those_of_the_values(fills: bool, dtype: str) -> None:
    model, observations = make(fills=fills), seen(dtype=dtype)
    assert all(is_compiled(model.sensor(name)) for name in observations)

    found = model.encode(observations)

    with torch.no_grad():
        alike(found, model.encode({name: own.unpacked() for name, own in observations.items()}))
    assert (found.w != 0).any(-1).float().mean() > 0.3


def test_what_comes_with_a_pixel_does_not_change_a_bit_of_it() -> None:
    model, observations = make(fills=True), seen()
    whole = model.encode(observations)
    for pixels in (np.array([3]), np.arange(PIXELS)[::-1], np.array([5, 5, 31])):
        some = {
            name: PackedObservations(**{**vars(own), "pixels": own.pixels[pixels]})
            for name, own in observations.items()
        }

        part = model.encode(some)

        assert torch.equal(part.w, whole.w[pixels.copy()])
        assert torch.equal(part.eta, whole.eta[pixels.copy()])


def test_what_is_not_clear_or_not_there_changes_nothing() -> None:
    model, observations = make(fills=True), seen()
    whole = model.encode(observations)
    for own in observations.values():
        own.packed[~own.clear] = 12_345

    again = model.encode(observations)

    assert torch.equal(again.w, whole.w)
    assert torch.equal(again.eta, whole.eta)


def test_networks_that_are_not_compiled_give_the_same() -> None:
    """Those in bfloat16, and of more bands than bits of a number."""
    wide = make(fills=False, bands=MOST_BANDS + 1)
    observations = {"optical": pack("optical", bands=MOST_BANDS + 1), "radar": pack("radar")}
    assert not is_compiled(wide.sensor("optical"))
    with torch.no_grad():
        values = {name: own.unpacked() for name, own in observations.items()}
        alike(wide.encode(observations), wide.encode(values))
    coarse = make(fills=False)
    coarse.encode_in(torch.bfloat16)
    assert not is_compiled(coarse.sensor("radar"))


def test_latents_of_packed_observations_are_those_of_their_values() -> None:
    """With refinements too, which compare observations with what is decoded."""
    days = torch.linspace(17_000, 17_400, 5, dtype=torch.float64)
    for rounds in (0, 1):
        model = make(fills=True)
        model.config = model.config.model_copy(update={"refinements": rounds})
        found = model.infer(seen(), days)
        wanted = model.infer({name: own.unpacked() for name, own in seen().items()}, days)
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
