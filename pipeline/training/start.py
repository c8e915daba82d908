"""Where a training starts: bands normalised, the model sized and started, its first score."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from terralatent.catalogs.errors import InputError
from terralatent.models.config import ModelConfig, SensorConfig
from terralatent.models.families import find_family, make_model
from terralatent.models.latent_model import LatentModel
from terralatent.models.observations import Observations
from terralatent.models.start.covariances import TooFewObservationsError
from terralatent.models.start.linear import start_model
from terralatent.pipeline.training.adapting.extend import BaseModel
from terralatent.pipeline.training.adapting.pretrained import PretrainedModel
from terralatent.pipeline.training.loop import describe_timescales
from terralatent.pipeline.training.sources import PixelSource
from terralatent.pipeline.training.state import TrainingFolder, TrainingState, copy_tensors
from terralatent.pipeline.training.validation import Validation

__all__ = ["centre_and_spread", "configure", "start", "unstarted"]

log = logging.getLogger(__name__)

MAD_TO_STD = 1.4826
SMALLEST_SPREAD = 1e-4
"""In units of the band: a step of packed reflectance."""


def configure(
    sources: Sequence[PixelSource],
    pools: Sequence[dict[str, Observations]],
    choices: dict[str, Any],
    base: BaseModel | PretrainedModel | None,
    *,
    fills_bands: bool = False,
    widths: Mapping[str, int] = MappingProxyType({}),
) -> ModelConfig:
    """Describe the model: bands as the cubes have them, normalised by the pools.

    Sensors of a base model stay as it has them. With ``fills_bands`` a new one of a family that has
    such encoders fills bands that an observation lacks; ``widths`` are those of the hidden layers
    of encoders, by sensor.
    """
    there = {name: bands for source in sources for name, bands in source.sensors.items()}
    sensors = list(base.config.sensors) if base else []
    known = base.known if base else frozenset()
    for name, bands in sorted(there.items()):
        if name in known:
            continue
        centre, spread = centre_and_spread([pool[name] for pool in pools if name in pool])
        sensors.append(
            SensorConfig(
                name=name,
                bands=bands.names,
                units=bands.units,
                centre=tuple(centre.tolist()),
                spread=tuple(spread.tolist()),
                hidden=widths.get(name),
            )
        )
    sensors.sort(key=lambda sensor: sensor.name)
    if base:
        return base.config.model_copy(update={"sensors": tuple(sensors)})
    family = find_family(choices["model"])
    filling = {"fills_bands": True} if fills_bands and family.takes_sensors else {}
    return family.sized(ModelConfig.model_validate({"sensors": sensors, **choices, **filling}))


def unstarted(
    config: ModelConfig, base: BaseModel | PretrainedModel | None, seed: int
) -> LatentModel:
    """A model in which what is to learn takes gradients, and has not been started."""
    return make_model(config, seed=seed) if base is None else base.extend(config, seed)


def start(
    config: ModelConfig,
    base: BaseModel | PretrainedModel | None,
    pools: Sequence[dict[str, Observations]],
    validation: Validation,
    folder: TrainingFolder,
    seed: int,
) -> TrainingState:
    """The start, judged: the first candidate for the best model."""
    model = unstarted(config, base, seed)
    try:
        if base is None:
            start_model(model, pools, seed=seed)
        else:
            base.start(model, pools, validation)
    except TooFewObservationsError as error:
        apart = [sensor.name for sensor in config.sensors if not _is_whole(sensor.name, pools)]
        reason = (
            f"no cube has clear observations in all bands of {' and '.join(apart)}, by which the "
            'linear start relates them; add one that has, or start at random (start="random").'
            if apart and base is None
            else str(error)
        )
        raise InputError(f"The cube holds too little: {reason}") from error
    score = validation.score(model)
    log.info("the start has a held-out log density of %.3f", score.log_density)
    weights = copy_tensors(model.state_dict())
    state = TrainingState(
        config=config.model_dump(mode="json", exclude_none=True),
        start_score=score.log_density,
        best_score=score.log_density,
        start_groups=dict(score.groups),
        weights=weights,
        best=weights,
    )
    folder.trim_log(-1)
    folder.log(step=0, validation=score.to_json(), timescales=describe_timescales(model))
    folder.save(state)
    return state


def _is_whole(sensor: str, pools: Sequence[dict[str, Observations]]) -> bool:
    """Whether some observation of a sensor has all bands."""
    return any(bool(pool[sensor].valid.all(-1).any()) for pool in pools if sensor in pool)


def centre_and_spread(pools: Sequence[Observations]) -> tuple[Tensor, Tensor]:
    """Median and 1.4826 x median absolute deviation of each band's valid values.

    Robust, because some clouds escape every mask. Where more than half of a band's values are
    equal, its spread is their standard deviation; where it does not vary at all, or has no valid
    value, 1: what another place measures there is then no outlier of thousands of spreads.

    Args:
        pools: Pixels of one sensor, one entry for each cube; training acquisitions only.

    Returns:
        Two tensors with shape (B,), float32, in the bands' physical units.
    """
    bands = pools[0].values.shape[-1]
    centre, spread = torch.zeros(bands), torch.ones(bands)
    for band in range(bands):
        values = torch.cat([pool.values[..., band][pool.valid[..., band]] for pool in pools])
        if values.numel():
            centre[band] = values.median()
            robust = MAD_TO_STD * (values - centre[band]).abs().median()
            found = (deviation for deviation in (robust, values.std(correction=0)))
            spread[band] = next((one for one in found if one > SMALLEST_SPREAD), 1.0)
    return centre, spread
