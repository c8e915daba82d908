"""How a model displays: sensors, kernel, scores, what it learned from."""

from __future__ import annotations

from html import escape

from terralatent.models.checkpoint import CheckpointError, read_manifest
from terralatent.models.shipped import model_folder
from terralatent.pipeline.info.models import ModelStatus

__all__ = ["format_html", "format_text"]


def format_text(reference: str, status: ModelStatus) -> str:
    """A handful of lines for a terminal."""
    rows = _rows(reference, status)
    width = max(len(name) for name, _ in rows)
    return "\n".join(
        [f"<Model {reference}>", *(f"  {name:<{width}}  {value}" for name, value in rows)]
    )


def format_html(reference: str, status: ModelStatus) -> str:
    """A small table for a notebook."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(value)}</td></tr>"
        for name, value in _rows(reference, status)
    )
    return f"<b>Model {escape(reference)}</b><table>{rows}</table>"


def _rows(reference: str, status: ModelStatus) -> list[tuple[str, str]]:
    rows = [
        (name, f"{', '.join(own.bands)} ({'reflectance' if own.units == '1' else own.units})")
        for name, own in (status.sensors or {}).items()
    ]
    prior = [f"{status.latents} latents"]
    if status.kernel:
        prior.append(f"prior {status.kernel}{_days(reference)}")
    prior.append(f"posterior {status.posterior}" if status.posterior else str(status.model))
    rows.append(("latents", ", ".join(prior)))
    if status.likelihood:
        rows.append(("bands", f"{status.likelihood} likelihood"))
    if status.cubes:
        named = [cube.store for cube in status.cubes if cube.store]
        more = f" and {len(named) - 2} more" if len(named) > 2 else ""
        rows.append(("trained on", f"{', '.join(named[:2])}{more}"))
    if status.calibrated_on and status.calibrated_on.store:
        rows.append(("calibrated", status.calibrated_on.store))
    if status.score is not None:
        rows.append(("score", f"{status.score:.3f} nats a held-out value"))
    rows.append(("hash", str(status.hash)[:12]))
    return rows


def _days(reference: str) -> str:
    """The range of the latents' lengthscales."""
    try:
        scales = read_manifest(model_folder(reference)).get("kernel_days") or {}
    except CheckpointError:
        return ""
    days = sorted(value for own in scales.values() for value in own if value is not None)
    return f" of {days[0]:.0f} to {days[-1]:.0f} days" if days else ""
