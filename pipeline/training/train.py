"""Cubes -> a trained model: its start, and what training adds to it."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from torch import Tensor

from terralatent.catalogs.errors import InputError
from terralatent.models.calibration import calibrate
from terralatent.models.checkpoint import save_model
from terralatent.models.config import MANIFEST, ModelConfig
from terralatent.models.families import make_model
from terralatent.models.observations import Observations
from terralatent.pipeline.cube.masking import MaskingRequest
from terralatent.pipeline.device import find_device, make_fabric
from terralatent.pipeline.interrupts import uninterrupted
from terralatent.pipeline.progress import ProgressChoice, choose_progress
from terralatent.pipeline.sentence import Sentence
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.tables.columns import Columns
from terralatent.pipeline.tables.table import TableSource
from terralatent.pipeline.training.adapting.extend import BaseModel, read_base
from terralatent.pipeline.training.adapting.pretrained import (
    PretrainedModel,
    latents_moved,
    read_pretrained,
)
from terralatent.pipeline.training.annual_map import keep_annual_map
from terralatent.pipeline.training.choices import Choices, choose
from terralatent.pipeline.training.cubes import Labels, open_training_cubes
from terralatent.pipeline.training.dropout import band_groups
from terralatent.pipeline.training.holdout import FEWEST_CLEAR, Holdout, hold_out
from terralatent.pipeline.training.labelled.head import Head
from terralatent.pipeline.training.labelled.pixels import read_labelled
from terralatent.pipeline.training.labelled.request import Supervision
from terralatent.pipeline.training.loop import Schedule, fit, fit_all
from terralatent.pipeline.training.sampler import PixelSampler, by_name
from terralatent.pipeline.training.sources import PixelSource
from terralatent.pipeline.training.start import configure, start, unstarted
from terralatent.pipeline.training.state import TrainingFolder, TrainingState, training_record
from terralatent.pipeline.training.validation import Validation

__all__ = ["TrainReport", "train"]

log = logging.getLogger(__name__)

FITTED = ("noise_factor", "signal_factor")
"""Buffers that calibration sets."""

POOL_PIXELS, ALL_POOL_PIXELS = 2048, 4096
"""Pixels of each cube for the normalisation, the start and the choice of clear acquisitions, and at
most so many of all together."""
VALIDATION_PIXELS, ALL_VALIDATION_PIXELS = 512, 4096
"""Pixels of each cube to validate on, and at most so many of all together."""


@dataclass(frozen=True, repr=False)
class TrainReport(Sentence):
    """How a training ended. Scores are log predictive densities by held-out value, in nats."""

    steps: int
    """Steps done."""

    best_step: int
    """Steps done when the best weights were reached; 0 is the start, which is then kept."""

    score: float
    """Score of the best weights, before the last steps on all acquisitions."""

    start_score: float
    """Score of the start."""

    repeated: bool
    """Whether the model was there before and nothing was done."""

    def __str__(self) -> str:
        before = "already trained, nothing done: " if self.repeated else ""
        return (
            f"{before}best of {self.steps} steps is step {self.best_step}, "
            f"held-out log density {self.score:.3f} (start {self.start_score:.3f})"
        )


def train(
    cubes: TableSource | Sequence[TableSource],
    out: str | Path,
    *,
    extend: str | Path | None = None,
    pretrained: str | Path | None = None,
    steps: int = 800,
    seed: int = 0,
    device: str = "auto",
    batch: int = 64,
    sensors: Sequence[str] | None = None,
    validate_every: int = 40,
    patience: int = 6,
    beta: float = 1.0,
    hide: bool = True,
    drop_bands: bool = False,
    calibrated: bool = True,
    rate: float | None = None,
    widths: Mapping[str, int] | None = None,
    balance: str | Sequence[float] = "area",
    labels: Sequence[Labels | None] | None = None,
    supervision: Supervision | None = None,
    columns: Columns = None,
    masking: MaskingRequest = None,
    progress: ProgressChoice = None,
    **given: Unpack[Choices],
) -> TrainReport:
    """Train a model on pixel series of one or more cubes and tables; computes.

    Cubes may have other sensors and other bands of them: the model has all, and what a cube lacks
    is never valid there. They are read patch by patch, tables by row groups.

    Whole acquisitions (and blocks, where a cube has several) are held out. The start is the
    first candidate; from the weights that predict what was held out best, a few last steps learn
    from that as well, and their model is kept at ``out``. The same call again goes on where it was
    interrupted and ends with the same bytes as without; when it is done it does nothing.

    With ``extend`` the sensors of the cubes that a trained model does not know are added to it.
    Only what is theirs is trained, so that latents of series without them stay bit-equal, and no
    model is kept that predicts held-out acquisitions of the old sensors worse.

    Args:
        cubes: Path or URL of a cube, or of several, each read at its newest snapshot; a path that
            ends in ``.parquet`` or ``.csv``, a frame or a
            :class:`~terralatent.pipeline.tables.series.Series` is a table, see
            :func:`terralatent.pipeline.training.tables.calendars.open_table`.
        out: Local folder of the model; its folder ``training`` holds settings, log and state.
        extend: Folder of a trained model to which sensors are added; it is only read.
        pretrained: Folder of a trained model from whose weights training begins, on which the
            prior of the weights is centred, and to which they go halfway back in the end; it is
            only read, and its choices stay.
        steps: Steps at most; 0 keeps the start.
        seed: Of every random draw, at least 0.
        device: ``auto``, ``cpu`` or ``cuda``, with a number for one of several: ``cuda:1``.
        batch: Pixel series in a step.
        sensors: Groups of the cubes to learn from, or to add to a model; all by default.
        validate_every: Steps between two validations.
        patience: Validations without a better one after which training stops.
        beta: Weight of the KL divergence; with 1 the objective is a bound on the evidence.
        hide: Whether observation dropout is on: the encoders see a random part of what is counted.
        drop_bands: Whether they miss some bands in some steps too, for cubes that lack these.
        calibrated: Whether the widths of predictive intervals are fitted in the end, see
            :func:`terralatent.models.calibration.calibrate`.
        rate: Peak learning rate; :class:`~terralatent.pipeline.training.loop.Schedule`'s if None.
        widths: By sensor, the width of the hidden layers of its encoder; ``hidden`` where silent.
        balance: Whether cubes count by their ``area`` (tables by their pixels), or each ``cube`` as
            much as another; or how much each of ``cubes`` counts, numbers above 0.
        labels: For each of ``cubes``, classes of its pixels on its grid, integers (y, x), 0 where
            there is none, or None; pixels of a cube with labels are drawn equally by class.
        supervision: Labels that count in further steps after those without, see
            :class:`~terralatent.pipeline.training.labelled.request.Supervision`.
        columns: Where the tables have what: a mapping, or a TOML or JSON file of one.
        masking: How the sensors are masked; the model notes it, and is used so by default. An
            extension masks the sensors that it adds so.
        progress: Shown every step, with loss and best score; True: a bar.
        given: Choices of the model, see :class:`terralatent.pipeline.training.choices.Choices`.

    Raises:
        InputError: If a cube or table cannot be read, lacks every sensor wanted or disagrees with
            another about a sensor's units; if they cannot be masked so; if too few acquisitions are
            clear; if an argument is no such thing, or one that a model given cannot change; if
            there is no sensor to add; or if ``out`` holds anything but a part of this training.
        CheckpointError: If the model to extend cannot be read.
        KeyboardInterrupt: On Ctrl-C, after the state is written.

    Examples:
        >>> import terralatent as tl
        >>> report = tl.train("cube", "own", steps=800)  # doctest: +SKIP
    """
    _check_counts(1, batch=batch, validate_every=validate_every, patience=patience)
    _check_counts(0, steps=steps, seed=seed)
    _check_counts(1, **(widths or {}))
    if rate is not None and not 0.0 < rate < math.inf:
        raise InputError(f"rate is {rate}; it must be a number above 0.")
    base = _read_given(extend, pretrained)
    choices = choose(dict(given), base.config if base else None)
    accelerator, devices = find_device(device)
    opening = open_training_cubes if base is None else base.open_cubes
    carry = () if supervision is None else (supervision.column,)
    sources = opening(
        cubes, sensors, seed=seed, masking=masking, columns=columns, labels=labels, carry=carry
    )
    labelled = None
    if supervision is not None:
        fixed, family = isinstance(base, BaseModel), choices["model"]
        labelled = read_labelled(sources, supervision, seed, family=family, fixed=fixed)
    settings = {
        "cubes": [source.version for source in sources],
        "sensors": sorted({name for source in sources for name in source.sensors}),
        **choices,
        "extend": base.hash if isinstance(base, BaseModel) else None,
        **({"from": base.hash, "prior": base.prior} if isinstance(base, PretrainedModel) else {}),
        "steps": steps,
        "seed": seed,
        "batch": batch,
        "validate_every": validate_every,
        "patience": patience,
        "beta": beta,
        "hide": hide,
        "calibrated": calibrated,
        "masking": next((own for source in sources if (own := source.masks.to_json())), None),
        # Trainings from before there was a choice go on as what they were.
        **(
            {}
            if balance == "area"
            else {"balance": balance if isinstance(balance, str) else list(balance)}
        ),
        **({} if labels is None else {"labels": [_digest(own) for own in labels]}),
        **({"supervision": labelled.record(supervision)} if supervision and labelled else {}),
        **({"drop_bands": True} if drop_bands else {}),
        **({} if rate is None else {"rate": rate}),
        **({} if widths is None else {"widths": dict(widths)}),
    }
    if settings["hidden"] == ModelConfig.model_fields["hidden"].default:
        del settings["hidden"]
    folder = TrainingFolder(out)
    with folder.claim(settings) as lock, translated_errors(folder.out):
        state = folder.load()
        if state is not None and state.published and (folder.out / MANIFEST).exists():
            log.info("%s: this training is done; nothing is left to do", folder.out)
            return _report(state, repeated=True)

        sampler = PixelSampler(sources, seed=seed, batch=batch, balance=by_name(balance, sources))
        pools = sampler.pool(_share(POOL_PIXELS, ALL_POOL_PIXELS, sources))
        for source in sources:
            source.keep_for(str(folder.out))
        for name, share in sampler.outliers().items():
            log.info("%.2f %% of the observations of %s are outliers, masked", 100 * share, name)
        holdouts = _hold_out(pools, sources, seed)
        series = sampler.validation(_share(VALIDATION_PIXELS, ALL_VALIDATION_PIXELS, sources))
        guard = base.guard(series, holdouts) if base else None
        validation = Validation(series, holdouts, guard)

        if state is None:
            seen = [held.training(pool) for held, pool in zip(holdouts, pools, strict=True)]
            config = configure(
                sources, seen, choices, base, fills_bands=drop_bands, widths=widths or {}
            )
            state = start(config, base, seen, validation, folder, seed)
        else:
            log.info("%s: going on after step %d", folder.out, state.step)
            folder.trim_log(state.step)
        model = unstarted(ModelConfig.model_validate(state.config), base, seed)
        final = None

        try:
            if model.trainable:
                adapts = base if isinstance(base, PretrainedModel) else None
                bands = {own.name: own.bands for own in model.config.sensors}
                schedule = Schedule(
                    steps,
                    validate_every,
                    patience,
                    beta=beta,
                    hide=hide,
                    bands=band_groups(bands) if drop_bands else None,
                    prior=adapts.prior if adapts else 0.0,
                    rate=Schedule.rate if rate is None else rate,
                )
                centre = adapts.model.state_dict() if adapts else None
                fabric = make_fabric(accelerator, devices)
                fit(
                    model,
                    sampler,
                    holdouts,
                    validation,
                    schedule,
                    state,
                    folder=folder,
                    fabric=fabric,
                    progress=lock.tee(choose_progress(progress)),
                    centre=centre,
                )
                # What an extension may change was judged by its guard: nothing goes beyond that.
                if not isinstance(base, BaseModel):
                    again = unstarted(ModelConfig.model_validate(state.config), base, seed)
                    head = None
                    if supervision and labelled:
                        head = Head(labelled, supervision, latents=model.config.latents, seed=seed,
                                    batch=batch, hide=hide)  # fmt: skip
                    final = fit_all(
                        again, sampler, schedule, state, fabric=fabric, centre=centre, head=head
                    )
                    final = base.blend(final) if base else final
                else:
                    final = state.best
            else:
                state.finished, final = True, state.best
        finally:
            with uninterrupted():
                record = training_record(
                    sources, settings, pools, holdouts, state, base, final=final is not None
                )
                if isinstance(base, PretrainedModel):
                    record["from"]["moved"] = _moved(base, state, final, series)
                _publish(state, final, folder, record, series if calibrated else (), pools, base)
    return _report(state, repeated=False)


def _share(each: int, together: int, sources: Sequence[PixelSource]) -> int:
    """How many pixels of each cube are taken."""
    return min(each, math.ceil(together / len(sources)))


def _hold_out(
    pools: Sequence[dict[str, Observations]], sources: Sequence[PixelSource], seed: int
) -> list[Holdout]:
    """The acquisitions kept from training, by cube; at least one among all cubes."""
    holdouts = [
        hold_out(pool, seed, together=source.together)
        for pool, source in zip(pools, sources, strict=True)
    ]
    if all(holdout.empty for holdout in holdouts):
        raise InputError(
            f"{', '.join(dict.fromkeys(source.name for source in sources))}: no sensor has "
            f"{FEWEST_CLEAR} acquisitions that are clear over half of the pixels, too few to train "
            "and to validate; build the cube for a longer period."
        )
    return holdouts


def _publish(
    state: TrainingState,
    final: dict[str, Tensor] | None,
    folder: TrainingFolder,
    record: dict[str, Any],
    series: Sequence[dict[str, Observations]],
    pools: Sequence[dict[str, Observations]],
    base: BaseModel | PretrainedModel | None,
) -> None:
    """Put the best model so far into its folder; the final one calibrated, and noted as such."""
    model = make_model(ModelConfig.model_validate(state.config))
    best = base.blend(state.best) if isinstance(base, PretrainedModel) else state.best
    model.load_state_dict(best)
    if final is not None and model.trainable:
        fixed = base.fixed if base else frozenset()
        # By the best weights: what was held out is still new to them.
        calibrate(model, series, sorted(set(model.sensors) - fixed))
        weights = model.state_dict()
        widths = {name: weights[name] for name in weights if name.endswith(FITTED)}
        model.load_state_dict({**final, **widths})
    save_model(model, folder.out, record)
    if final is not None:
        keep_annual_map(model, folder.out, pools, base.folder if base else None)
        state.published = True
        folder.save(state)


def _read_given(
    extend: str | Path | None, pretrained: str | Path | None
) -> BaseModel | PretrainedModel | None:
    """The model that a training extends or begins from, if any."""
    if extend is not None and pretrained is not None:
        raise InputError(
            "a training extends a model or begins from one, not both; begin from it first, and "
            "extend what that gives."
        )
    if pretrained is not None:
        return read_pretrained(pretrained)
    return None if extend is None else read_base(extend)


def _moved(
    base: PretrainedModel,
    state: TrainingState,
    final: dict[str, Tensor] | None,
    series: Sequence[dict[str, Observations]],
) -> float:
    """By how many of their standard deviations the latents moved, on the validation pixels."""
    model = make_model(ModelConfig.model_validate(state.config))
    model.load_state_dict(base.blend(state.best) if final is None else final)
    return latents_moved(base.model, model.eval(), series)


def _digest(labels: Labels | None) -> str | None:
    """SHA-256 of labels, in hexadecimal."""
    if labels is None:
        return None
    return hashlib.sha256(np.ascontiguousarray(labels, "<i8").tobytes()).hexdigest()


def _report(state: TrainingState, *, repeated: bool) -> TrainReport:
    return TrainReport(state.step, state.best_step, state.best_score, state.start_score, repeated)


def _check_counts(at_least: int, **counts: int) -> None:
    for name, count in counts.items():
        if count < at_least:
            raise InputError(f"{name} is {count}; it must be at least {at_least}.")
