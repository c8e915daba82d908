"""The rows as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gapfill.tables import table, where
from benchmarks.halves.measure import DATED, NESTED, PRIOR, TWO
from benchmarks.halves.scores import ALL, BIN, DIMENSION, bins
from benchmarks.halves.splits import THINNED

__all__ = ["page", "picked"]

Rows = Sequence[Mapping[str, Any]]

RIGHT = "dimensions at 0.9 to 1.1"

WANTED = "wanted: spread 1.00 +- 0.02 on draws, 0.9 to 1.1 elsewhere; 86 to 94 % covered"


def page(rows: Rows) -> str:
    """All tables of the rows that are there."""
    parts = [where(), f"Spread is the standard deviation of z; {WANTED}."]
    for stage in ("draws", "observed"):
        if own := picked(rows, stage=stage):
            parts += [f"### {stage}", _overall(own), _by_bin(own), _by_latent(own)]
    if own := picked(rows, stage="blocks"):
        parts += ["### blocks: share of the mean square of z that a block's mean has", _blocks(own)]
    if own := picked(rows, stage="temper"):
        parts += ["### temper", _temper(own), _by_latent(own), _means(own)]
    return "\n\n".join(parts)


def picked(rows: Rows, **wanted: Any) -> list[Mapping[str, Any]]:
    """The rows that say these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def _overall(rows: Rows) -> str:
    head = ["region", "split", "law", "of", "pixels", "pairs", "little", "empty", "bias",
            "spread", "rms", "90 % cover", RIGHT, "cosine of halves"]  # fmt: skip
    return table(
        head,
        [
            [row["region"], row["split"], row["law"], row["functional"], f"{row['pixels']:,}",
             f"{row['pairs']:,}", f"{row['little']:,}", f"{row['empty']:,}",
             _signed(row["bias"]), _two(row["spread"]), _two(row["rms"]), _share(row["covers"]),
             _right(rows, row), _three(row["cosine"])]
            for row in picked(rows, by=ALL)
        ],
    )  # fmt: skip


def _by_bin(rows: Rows) -> str:
    """Spread and coverage by clear observations, of thinned pixels."""
    head = ["region", "of", *bins()]
    lines = []
    for region in _values(rows, "region"):
        for functional in _values(rows, "functional"):
            own = picked(
                rows, region=region, split=THINNED, law=NESTED, functional=functional, by=BIN
            )
            cells = {row["of"]: row for row in own}
            lines.append([region, functional, *(_cell(cells.get(name)) for name in bins())])
    return "Spread, 90 % coverage and cosine distance by clear observations in the year:\n\n" + (
        table(head, lines)
    )


def _by_latent(rows: Rows) -> str:
    own = picked(rows, functional=DATED, by=DIMENSION)
    latents = sorted(_values(own, "of"), key=int)
    lines = []
    for region in _values(own, "region"):
        for split in _values(own, "split"):
            for law in (NESTED, PRIOR, TWO):
                cells = {row["of"]: row for row in picked(own, region=region, split=split, law=law)}
                if cells:
                    shown = [_two(cells[name]["spread"]) for name in latents]
                    lines.append([region, split, law, *shown])
    return "Spread by latent, dated:\n\n" + table(["region", "split", "law", *latents], lines)


def _blocks(rows: Rows) -> str:
    latents = range(len(rows[0]["share"]))
    return table(
        ["region", "pixels along", "alone", *map(str, latents)],
        [
            [row["region"], str(row["side"]), _three(1.0 / row["side"] ** 2),
             *map(_two, row["share"])]
            for row in rows
        ],
    )  # fmt: skip


def _temper(rows: Rows) -> str:
    head = ["region", "way", "of", "pairs", "little", "bias", "spread", "rms", "90 % cover", RIGHT]
    return table(
        head,
        [
            [row["region"], row["split"], row["functional"], f"{row['pairs']:,}",
             f"{row['little']:,}", _signed(row["bias"]), _two(row["spread"]), _two(row["rms"]),
             _share(row["covers"]), _right(rows, row)]
            for row in picked(rows, by=ALL)
        ],
    )  # fmt: skip


def _means(rows: Rows) -> str:
    head = ["region", "way", "means moved, in std", "std over before",
            "error of hidden over before", "90 % cover before", "after"]  # fmt: skip
    return table(
        head,
        [
            [row["region"], row["split"], _two(row["moved"]), _two(row["widened"]),
             _three(row["error"]), _share(row["covers before"]),
             _share(row["covers"])]
            for row in picked(rows, by="means")
        ],
    )  # fmt: skip


def _right(rows: Rows, whole: Mapping[str, Any]) -> str:
    """How many dimensions of what a row sums up have the spread that is wanted, of those scored."""
    keys = ("region", "split", "law", "functional")
    own = picked(rows, by=DIMENSION, **{key: whole[key] for key in keys})
    spreads = [row["spread"] for row in own if row["spread"] is not None]
    return f"{sum(0.9 <= spread <= 1.1 for spread in spreads)} of {len(spreads)}"


def _values(rows: Rows, key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows if key in row))


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None or row["spread"] is None:
        return "–"
    return f"{row['spread']:.2f}, {100 * row['covers']:.0f} %, {_three(row['cosine'])}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
