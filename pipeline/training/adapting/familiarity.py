"""How far a cube lies from what a model knows, by some pixels of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from terralatent.catalogs.errors import InputError
from terralatent.models.checkpoint import CheckpointError, load_model, read_manifest
from terralatent.models.local_calibration import mean_squared_residual
from terralatent.models.observations import Observations
from terralatent.models.shipped import model_folder, reference_of
from terralatent.pipeline.cube.masking import MaskingRequest
from terralatent.pipeline.training.adapting.calibrate import open_place
from terralatent.pipeline.training.cubes import TrainingCube
from terralatent.pipeline.training.sampler import PixelSampler

__all__ = ["Familiarity", "familiarity", "value_ranges", "warn_if_strange"]

log = logging.getLogger(__name__)

PIXELS = 128

EDGE = 0.001
"""Share of the values of a band below and above the range that training is said to have seen."""

LARGEST_RESIDUAL = 1.5
"""Mean squared standardised residual up to which a cube is as a model knows it."""

LARGEST_OUTSIDE = 0.1
"""Share of observations outside what training saw up to which it is."""


@dataclass(frozen=True)
class Familiarity:
    """What a sample of a cube's observations says of a model; both by sensor."""

    residual: Mapping[str, float]
    """Mean squared standardised residual of hidden observations; 1 is as the model expects."""

    outside: Mapping[str, float]
    """Share of the observations with a band outside what training saw; empty where the model does
    not record that."""

    @property
    def strange(self) -> str:
        """What lies outside of what the model knows, in words; empty where nothing does."""
        parts = [
            f"{name}: hidden observations are missed by {value:.1f} times the variance that it "
            "expects"
            for name, value in self.residual.items()
            if value > LARGEST_RESIDUAL
        ]
        parts += [
            f"{name}: {value:.0%} of the observations lie outside the values that it learned from"
            for name, value in self.outside.items()
            if value > LARGEST_OUTSIDE
        ]
        return "; ".join(parts)


def familiarity(
    cube: str | Path,
    model: str | Path | None,
    *,
    masking: MaskingRequest = None,
    at: str | None = None,
) -> Familiarity | None:
    """Compare a sample of a cube with what a model expects; computes, for seconds at most.

    Args:
        cube: Path or URL of a cube.
        model: Folder of a model, or the name of one that comes with the package.
        masking: How the sensors are masked; as the model was trained, where it leaves that open.
        at: An earlier snapshot of the cube.

    Returns:
        None where the model was trained or calibrated on this cube, whatever it held then, or does
        not record where it was.

    Raises:
        InputError: If the cube cannot be read or does not fit the model.
        CheckpointError: If the model cannot be read.
    """
    folder = model_folder(model)
    manifest = read_manifest(folder)
    place = open_place(cube, reference_of(model), manifest, seed=0, masking=masking, at=at)
    record: Mapping[str, Any] = manifest.get("training") or {}
    known = [*record.get("cubes", ()), *filter(None, [record.get("calibration")])]
    if not known or any(_is(place, its) for its in known):
        return None
    (pool,) = PixelSampler([place], seed=0).pool(PIXELS)
    residual = mean_squared_residual(load_model(folder), [pool])
    return Familiarity(residual, _outside(pool, record.get("values") or {}))


def warn_if_strange(
    cube: str | Path,
    model: str | Path | None,
    *,
    masking: MaskingRequest = None,
    at: str | None = None,
) -> None:
    """Say in one line of the log where a cube lies outside of what a model was trained on.

    Arguments as of :func:`familiarity`. Where these cannot be compared nothing is said: what is
    wrong with them is named by the mapping that follows.
    """
    try:
        found = familiarity(cube, model, masking=masking, at=at)
    except (InputError, CheckpointError) as error:
        log.debug("%s was not compared with %s: %s", cube, model, error)
        return
    if found is not None and found.strange:
        log.warning(
            "%s is outside what %s was trained on (%s); a calibration fits its intervals "
            "to this cube (calibrate=)",
            cube,
            reference_of(model),
            found.strange,
        )


def _is(place: TrainingCube, recorded: Mapping[str, Any]) -> bool:
    """Whether a cube is one that a model records: at the same snapshot, or grown since."""
    if place.snapshot and recorded.get("snapshot") == place.snapshot:
        return True
    named = recorded.get("store"), recorded.get("identity")
    return named == (str(place.store), place.identity)


def value_ranges(pools: Sequence[Mapping[str, Observations]]) -> dict[str, Any]:
    """The range of each sensor's bands in pools of pixels but for a thousandth at either end.

    Returns:
        ``low`` and ``high``, a list over the bands each, in their units, by sensor; JSON values.
    """
    ranges = {}
    for name in sorted({name for pool in pools for name in pool}):
        seen = [pool[name] for pool in pools if name in pool]
        rows = np.concatenate([own.values[own.valid.all(-1)].numpy() for own in seen])
        if len(rows):
            low, high = np.quantile(rows, [EDGE, 1.0 - EDGE], axis=0)
            ranges[name] = {
                "low": [float(f"{value:.6g}") for value in low],
                "high": [float(f"{value:.6g}") for value in high],
            }
    return ranges


def _outside(
    pool: Mapping[str, Observations], ranges: Mapping[str, Mapping[str, Sequence[float]]]
) -> dict[str, float]:
    """The share of each sensor's observations of which a valid band is out of its range."""
    shares = {}
    for name, own in pool.items():
        if name not in ranges or not bool(own.observed.any()):
            continue
        low, high = (own.values.new_tensor(list(ranges[name][end])) for end in ("low", "high"))
        off = own.valid & ((own.values < low) | (own.values > high))
        shares[name] = float(off.any(-1)[own.observed].float().mean())
    return shares
