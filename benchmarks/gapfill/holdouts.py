"""Which Sentinel-2 acquisitions are hidden, and which of them are scored.

Acquisitions more than 85 % clear are *clear*. Every fourth of them, and all that are 5 to 85 %
clear, are for development: settings are chosen on them, and they are never scored in what is
reported. Each of the four reported rotations hides 8 scattered clear acquisitions (none twice, no
two that follow one another) and all acquisitions, cloudy ones too, of a window of 15 days and of
one of 45 or 90; windows of one length never overlap. Each of the three development rotations hides
a third of the acquisitions for development and all of one window of 45, 90 or 15 days.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "Rotation", "clear_development", "development", "reported", "sort_out"]

Array = NDArray[np.floating]
Index = NDArray[np.integer]

KINDS = ("scattered", "15 days", "45 days", "90 days")
"""How an acquisition is hidden: alone, or with all others of a window."""

CLEAR = 0.85
PARTLY = 0.05
EVERY = 4
"""Every so many-th clear acquisition is for development."""

SCATTERED = 8
FEWEST = {15: 2, 45: 4, 90: 8}
"""Clear acquisitions that a window of so many days holds at least."""
FEWEST_SCORED = 2
"""And so many that are scored."""

REPORTED_WINDOWS = ((15, 45), (15, 90), (15, 45), (15, 90))
DEVELOPMENT_WINDOWS = (45, 90, 15)
MARGIN = 15.0
"""Days at either end of the calendar in which no window lies."""

TRIES = 2000


@dataclass(frozen=True)
class Sorted:
    """The acquisitions, by what they are for; indices into the calendar, ascending."""

    clear: Index
    development: Index
    reported: Index


@dataclass(frozen=True)
class Rotation:
    """One hold-out."""

    name: str
    """Such as ``reported-0``."""

    hidden: tuple[int, ...]
    """Acquisitions hidden from every method, ascending indices into the calendar."""

    scored: tuple[int, ...]
    """Those of them on which methods are judged, ascending."""

    kinds: tuple[str, ...]
    """Of the scored ones, see :data:`KINDS`."""

    windows: tuple[tuple[float, float], ...]
    """First and last day of each window, days since 1970."""


def sort_out(share: Array) -> Sorted:
    """Sort the acquisitions by what they are for.

    Args:
        share: Share of the pixels at which each acquisition is clear, (time,), in order of time.
    """
    clear = np.flatnonzero(share > CLEAR)
    partly = np.flatnonzero((share >= PARTLY) & (share <= CLEAR))
    kept = clear[EVERY - 1 :: EVERY]
    return Sorted(
        clear,
        np.sort(np.concatenate([kept, partly])),
        np.setdiff1d(clear, kept, assume_unique=True),
    )


def reported(days: Array, share: Array, seed: int = 0) -> tuple[Rotation, ...]:
    """The four rotations whose scores are reported.

    Args:
        days: Of the acquisitions, days since 1970, ascending, (time,).
        share: See :func:`sort_out`.
        seed: Another seed, other windows and another deal.

    Raises:
        ValueError: If the calendar is too short or too cloudy for windows and deal.
    """
    sets = sort_out(share)
    draw = np.random.default_rng(seed)
    fits = {n: _fits(days, days[sets.clear], days[sets.reported], n) for n in FEWEST}
    for _ in range(TRIES if all(map(len, fits.values())) else 0):
        starts = _place(fits, draw)
        if starts is None:
            continue
        within = [
            {
                int(at): f"{length} days"
                for length, start in zip(lengths, row, strict=True)
                for at in np.flatnonzero((days >= start) & (days < start + length))
            }
            for lengths, row in zip(REPORTED_WINDOWS, starts, strict=True)
        ]
        dealt = _deal(
            draw.permutation(sets.reported), [set(places) for places in within], sets.clear
        )
        if dealt is None:
            continue
        return tuple(
            _rotation(
                f"reported-{r}",
                {**dict.fromkeys(dealt[r], KINDS[0]), **within[r]},
                sets.reported,
                [(s, s + n) for n, s in zip(REPORTED_WINDOWS[r], starts[r], strict=True)],
            )
            for r in range(len(starts))
        )
    raise ValueError(
        f"{len(days)} acquisitions over {np.ptp(days):.0f} days, {len(sets.clear)} of them clear, "
        f"are too few for {len(REPORTED_WINDOWS)} rotations; take a longer period."
    )


def development(days: Array, share: Array, seed: int = 0) -> tuple[Rotation, ...]:
    """The three rotations on which settings are chosen; arguments as of :func:`reported`.

    Scored are all acquisitions for development that are hidden: those of the third, and others
    that lie in the window.
    """
    sets = sort_out(share)
    dealt = np.random.default_rng([seed, 1]).permutation(sets.development)
    rotations = []
    for d, length in enumerate(DEVELOPMENT_WINDOWS):
        third = np.sort(dealt[d :: len(DEVELOPMENT_WINDOWS)])
        starts = np.arange(days[0] + MARGIN, days[-1] - MARGIN - length)
        if not len(starts):
            raise ValueError(
                f"{np.ptp(days):.0f} days are too few for a window of {length}; "
                "take a longer period."
            )

        # In each window: acquisitions of the third; of equal windows, all for development.
        counts = [
            tuple(_count(days[some], start, length) for some in (third, sets.development))
            for start in starts
        ]
        start = float(starts[counts.index(max(counts))])
        within = np.flatnonzero((days >= start) & (days < start + length)).tolist()
        kinds = {
            **dict.fromkeys(third.tolist(), KINDS[0]),
            **dict.fromkeys(within, f"{length} days"),
        }
        rotations.append(
            _rotation(f"development-{d}", kinds, sets.development, [(start, start + length)])
        )
    return tuple(rotations)


def clear_development(days: Array, share: Array, seed: int = 0) -> tuple[Rotation, ...]:
    """The rotations of :func:`development`, in which only clear acquisitions are scored.

    Reported rotations score clear acquisitions alone: partly clear ones have more haze that masks
    missed, and reward a model that doubts. Rotations without any are left out.
    """
    clear = set(sort_out(share).clear.tolist())
    rotations = []
    for number, rotation in enumerate(development(days, share, seed)):
        kinds = dict(zip(rotation.scored, rotation.kinds, strict=True))
        scored = tuple(at for at in rotation.scored if at in clear)
        if scored:
            kept = tuple(kinds[at] for at in scored)
            name = f"clear-{number}" if not seed else f"clear-{seed}-{number}"
            rotations.append(replace(rotation, name=name, scored=scored, kinds=kept))
    return tuple(rotations)


def _rotation(
    name: str, kinds: dict[int, str], scored: Index, windows: list[tuple[float, float]]
) -> Rotation:
    hidden = tuple(sorted(int(at) for at in kinds))
    judged = tuple(at for at in hidden if at in set(scored.tolist()))
    return Rotation(name, hidden, judged, tuple(kinds[at] for at in judged), tuple(windows))


def _fits(days: Array, clear: Array, scored: Array, length: int) -> Array:
    """First days that a window can have."""
    starts = np.arange(np.floor(days[0]) + MARGIN, days[-1] - MARGIN - length)
    good = [
        _count(clear, start, length) >= FEWEST[length]
        and _count(scored, start, length) >= FEWEST_SCORED
        for start in starts
    ]
    return starts[np.array(good, dtype=bool)]


def _place(fits: dict[int, Array], draw: np.random.Generator) -> list[tuple[float, ...]] | None:
    """Draw the first day of each window of each rotation; None where the draw does not fit."""
    placed = [
        tuple(float(draw.choice(fits[length])) for length in lengths)
        for lengths in REPORTED_WINDOWS
    ]
    for lengths, row in zip(REPORTED_WINDOWS, placed, strict=True):
        if _overlap(row[0], lengths[0], row[1], lengths[1]):
            return None
    alike = [
        (length, start)
        for lengths, row in zip(REPORTED_WINDOWS, placed, strict=True)
        for length, start in zip(lengths, row, strict=True)
    ]
    for (length, start), (other, then) in combinations(alike, 2):
        if length == other and _overlap(start, length, then, other):
            return None
    return placed


def _count(days: Array, start: float, length: int) -> int:
    return int(((days >= start) & (days < start + length)).sum())


def _overlap(start: float, length: float, other: float, its: float) -> bool:
    return start < other + its and other < start + length


def _deal(order: Index, within: list[set[int]], clear: Index) -> list[list[int]] | None:
    """Give each rotation 8 acquisitions that lie in none of its windows, none to two rotations,
    and no neighbours to one: those would make a window of their own."""
    rank = {int(at): number for number, at in enumerate(clear)}
    left = [int(at) for at in order]
    dealt: list[list[int]] = []
    for taken in within:
        mine: list[int] = []
        for at in left:
            alone = all(abs(rank[at] - rank[other]) > 1 for other in mine)
            if at not in taken and alone and len(mine) < SCATTERED:
                mine.append(at)
        if len(mine) < SCATTERED:
            return None
        left = [at for at in left if at not in mine]
        dealt.append(mine)
    return dealt
