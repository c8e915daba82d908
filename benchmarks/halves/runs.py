"""What is measured of a region at each stage, kept as rows in the work folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks.halves.blocks import common_shares
from benchmarks.halves.measure import NESTED, PRIOR, TWO, Functional, compare, redrawn
from benchmarks.halves.regions import Region
from benchmarks.halves.scores import rows_of
from benchmarks.halves.sites import read_sites
from benchmarks.halves.splits import THINNED, Split, alternate, splits_by_platform, thinned
from benchmarks.halves.tempered import compare_factors
from terralatent.models.checkpoint import load_model
from terralatent.models.gpvae import GPVAE
from terralatent.models.shipped import DEFAULT, model_folder

__all__ = ["STAGES", "Rows", "measure"]

STAGES = ("draws", "observed", "blocks", "temper")
OPTICAL, RADAR = ("sentinel-2-l2a", "landsat-c2-l2"), ("sentinel-1-asc", "sentinel-1-desc")
ANNUAL = "annual vectors"
ALL_LAWS = (NESTED, PRIOR, TWO)
ALL_PIXELS = 1 << 30

Rows = list[dict[str, Any]]


def measure(
    work: Path, region: Region, cube: Path, stage: str, pixels: int, file: Path | None
) -> Rows:
    """Rows of a region and stage, from their file where they are there. Computes."""
    kept = work / "halves" / f"{region.name.replace(', ', '-').replace(' ', '-')}-{stage}-{pixels}"
    kept = kept.with_name(f"{kept.name}{'-' + file.stem if file else ''}.json")
    if kept.exists():
        return list(json.loads(kept.read_text()))
    model = load_model(model_folder(region.model))
    assert isinstance(model, GPVAE)
    maps = {}
    if file and region.model == DEFAULT:  # a map is of one model's latents
        whole = load_file(file)
        maps = {ANNUAL: Functional.of(whole["weights"], whole.get("offset"))}
    count = ALL_PIXELS if stage == "blocks" else pixels
    sites = read_sites(cube, region.model, count)
    if stage == "blocks":
        shares = common_shares(model, sites)
        rows = [
            {"region": region.name, "stage": stage, "side": side, "share": share}
            for side, share in shares.items()
        ]
    elif stage == "temper":
        rows = [
            {"region": region.name, "stage": stage, **row}
            for row in compare_factors(work, model, cube, region.model, sites, maps)
        ]
    else:
        plan: list[tuple[Split, tuple[str, ...]]] = []
        if stage == "draws":
            drawn = redrawn(model, sites)
            plan = [(alternate(drawn), ALL_LAWS), (alternate(thinned(drawn), THINNED), (NESTED,))]
        else:
            plan = [
                (alternate(sites), ALL_LAWS),
                (alternate(thinned(sites), THINNED), (NESTED,)),
                (alternate(sites.of_sensors(OPTICAL), "optical alone"), (NESTED,)),
                (alternate(sites.of_sensors(RADAR), "radar alone"), (NESTED,)),
                *((split, (TWO,)) for split in splits_by_platform(sites)),
            ]
        rows = [
            row
            for split, laws in plan
            if len(split.sites.days)
            for compared in compare(model, split, maps, laws=laws)
            for row in rows_of(compared, region=region.name, stage=stage)
        ]
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(plain))
    part.rename(kept)
    print(f"{region.name}, {stage}: {len(sites)} pixels", flush=True)
    return plain


def _plain(value: object) -> object:
    """A value as JSON has it: what is not finite as null."""
    if isinstance(value, list):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
