"""What changes between dates are inferred from: a cube and a model, or those of latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from terralatent.catalogs.errors import InputError
from terralatent.models.families import families_that, find_family
from terralatent.pipeline.attributes import nested
from terralatent.pipeline.cube.masking import STORED, Masking, MaskingRequest, leaves_open
from terralatent.pipeline.cube.reading import Reading
from terralatent.pipeline.dates import When
from terralatent.pipeline.mapping.inference import InferenceJob
from terralatent.pipeline.mapping.job import MappingJob, plan_job
from terralatent.pipeline.pixels.model import ModelSource
from terralatent.pipeline.store.repository import ABOUT, Store
from terralatent.pipeline.store.whereabouts import MADE_FROM, MODEL_FOLDER, resolve_beside

__all__ = ["Source", "find_source"]

PLAIN = Masking(STORED, dilate=0, outliers=False)
"""Where latents say nothing of how a sensor was masked."""


@dataclass(frozen=True)
class Source:
    """A cube, how it is read, and a model."""

    cube: Store
    model: ModelSource
    reading: Reading
    encoder: str
    latents: Store | None = None
    """Those whose cube and model these are; None where the cube itself was given."""

    latents_hash: str = ""
    """Theirs."""

    def job(self, dates: When, device: str) -> MappingJob:
        """Check that model and cube fit together. Reads no pixels.

        Raises:
            InputError: If they do not, the model gives no covariance between dates, or it is not
                the one that the latents were made by.
        """
        job = plan_job(
            self.cube, self.model, dates, self.reading, device=device, encoder=self.encoder
        )
        if self.latents_hash and job.latents_hash != self.latents_hash:
            raise InputError(
                f"{self.latents} was made by another model than {job.model}; give the one that "
                "made it as model=."
            )
        require_joint(job)
        return job


def require_joint(job: InferenceJob) -> None:
    """Check that a model gives the covariance of latents between dates.

    Raises:
        InputError: If it does not.
    """
    family = job.config().model
    if not find_family(family).has_joint:
        able = families_that(lambda other: other.has_joint)
        raise InputError(
            f"{job.model} is a {family} model, which gives no covariance between dates; changes "
            f"take a {able}."
        )


def find_source(
    store: Store,
    model: ModelSource,
    *,
    masking: MaskingRequest,
    at: str | None,
) -> Source:
    """Find the cube and the model that a store means. Reads no pixels.

    Args:
        store: A cube; or latents, which note theirs.
        model: As the caller gave it.
        masking: How a cube is masked; latents say so themselves.
        at: An earlier snapshot of a cube; latents name theirs.

    Raises:
        InputError: If it is neither, or the cube or model of latents cannot be found.
    """
    root = store.group()
    about, attrs = dict(root.attrs[ABOUT]), root.attrs.asdict()
    if about["kind"] == "cube":
        return Source(store, model, Reading(masking, at), "float32")
    if about["kind"] != "latents":
        raise InputError(f"{store} is a {about['kind']} store; latents or a cube are wanted here.")
    if at is not None or not leaves_open(masking):
        raise InputError(
            f"{store} holds latents, which know at which snapshot their cube was read, and masked "
            "how; leave at= and masking= out, or give the cube."
        )
    place = resolve_beside(store, str(attrs.get(MADE_FROM, "")))
    if place is None or not Store.of(place).exists():
        where = f" (it was at {place})" if place else ""
        raise InputError(
            f"The cube that {store} is made from cannot be found{where}; give the cube itself, and "
            "its model."
        )
    masked = {name: Masking.from_json(own) for name, own in nested(attrs, "masking").items()}
    reading = Reading(
        {**{name: own.over(PLAIN) for name, own in masked.items()}, "*": PLAIN},
        str(attrs.get("cube_snapshot", "")) or None,
    )
    kept = str(about["identity"].get("encoder", "float32"))
    return Source(
        Store.of(place), _model(store, model, attrs), reading, kept, store,
        str(attrs.get("latents_hash", "")),
    )  # fmt: skip


def _model(store: Store, given: ModelSource, attrs: dict[str, Any]) -> ModelSource:
    """The model that is given, or the one that latents note."""
    if given is not None:
        return given
    noted = str(attrs.get(MODEL_FOLDER, ""))
    found = resolve_beside(store, noted) if noted else str(attrs.get("model_name", ""))
    if not found:
        raise InputError(f"{store} does not say where its model lies; give it as model=.")
    return found
