"""Cubes and tables -> batches of pixel series for training."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from terralatent.catalogs.errors import InputError
from terralatent.models.observations import Observations
from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.training.sources import PixelSource

__all__ = ["BALANCES", "Batch", "PixelSampler", "by_name"]

BALANCES = ("area", "cube")
"""By what the cubes of a training count: their pixels, or each as much as another."""

BUFFER_PATCHES = 8
"""Patches that one buffer mixes."""
BUFFER_BATCHES = 16
"""Steps that share a buffer."""
MOST_BUFFERS = 8
"""Buffers that steps take turns with where there are several cubes: steps that follow one another
on one cube alone would pull the model to and fro."""
CACHE_BYTES = 256 * 2**20
"""Patches kept in memory; small cubes are read once."""

BUFFER_KEY, ORDER_KEY, POOL_KEY, VALIDATION_KEY, CLASS_KEY = range(5)


@dataclass(frozen=True)
class Batch:
    """Series of one training step; all pixels are of one cube, since calendars differ."""

    cube: int
    """The place of the cube among those of the sampler."""

    observations: dict[str, Observations]
    """For each sensor of the cube, ``batch`` pixels on all of its days, on the CPU."""


class PixelSampler:
    """Draws pixel series from cubes that may be larger than memory.

    Sixteen steps share a buffer: pixels of up to eight patches drawn at random from one cube. Each
    step takes its part of a random order of the buffer's pixels. Of several cubes as many buffers,
    at most eight, are in memory, and steps take turns with them. All draws depend on the seed and
    the step alone, so a batch is the same whatever was drawn before; the order of steps only
    decides how often patches are read.

    Pixels without any clear observation are passed over, and blocks apart are left alone. Where a
    cube has labels, a buffer holds as many pixels of each class, drawn from patches that have it;
    of a class with few pixels they come again.

    Args:
        cubes: At least one, or calendars of tables.
        seed: Another seed, other batches.
        batch: Pixels in a batch; a pixel comes again only where a cube has too few.
        balance: Whether a cube is drawn in proportion to its ``area`` (of a table, its pixels), or
            each ``cube`` and table as often as another; or for each of them, by name, how often.

    Raises:
        InputError: If ``balance`` is none of these.
    """

    def __init__(
        self,
        cubes: Sequence[PixelSource],
        *,
        seed: int,
        batch: int = 256,
        balance: str | Mapping[str, float] = "area",
    ) -> None:
        if isinstance(balance, str) and balance not in BALANCES:
            raise InputError(f"balance {balance!r} is unknown; give {' or '.join(BALANCES)}.")
        self.cubes = tuple(cubes)
        self.seed = seed
        self.batch_size = batch
        self._training = [_parts(cube, apart=False) for cube in self.cubes]
        self._share = self._shares(balance)
        self._classes = [
            _parts_by_class(cube, places)
            for cube, places in zip(self.cubes, self._training, strict=True)
        ]
        self._outliers: dict[tuple[int, int], dict[str, tuple[int, int]]] = {}
        self._patches: OrderedDict[tuple[int, int], SeriesBlock] = OrderedDict()
        self._buffers: OrderedDict[int, Batch] = OrderedDict()

    def batch(self, step: int) -> Batch:
        """The batch of one step, a pure function of the sampler's arguments and ``step``.

        Computes: reads the patches of the step's buffer unless the last call needed the same.

        Raises:
            InputError: If the cube has no pixel with a clear observation.
        """
        beside = self._buffers_at_once
        round_, within = divmod(step, BUFFER_BATCHES * beside)
        place, slot = divmod(within, beside)
        turn = round_ * beside + slot
        buffer = self._read_buffer(turn)
        pixels = len(next(iter(buffer.observations.values())))
        generator = np.random.default_rng([self.seed, ORDER_KEY, turn])
        rounds = math.ceil(BUFFER_BATCHES * self.batch_size / pixels)
        order = np.concatenate([generator.permutation(pixels) for _ in range(rounds)])
        start = place * self.batch_size
        chosen = torch.from_numpy(order[start : start + self.batch_size])
        return Batch(buffer.cube, _select(buffer.observations, chosen))

    def pool(self, pixels: int) -> list[dict[str, Observations]]:
        """Up to ``pixels`` training pixels of each cube, for the normalisation and the start.

        Computes; the same pixels at every call.
        """
        return [
            self._gather(cube, self._training[cube], pixels, [self.seed, POOL_KEY, cube])
            for cube in range(len(self.cubes))
        ]

    def validation(self, pixels: int) -> list[dict[str, Observations]]:
        """Up to ``pixels`` pixels of each cube to validate on, half of them from blocks apart.

        Where a cube has no blocks apart, all are training pixels, whose held-out acquisitions
        training has not seen either. Computes; the same pixels at every call.
        """
        pools = []
        for place, cube in enumerate(self.cubes):
            apart, key = _parts(cube, apart=True), [self.seed, VALIDATION_KEY, place]
            half = pixels // 2 if apart else 0
            series = self._gather(place, self._training[place], pixels - half, [*key, 0])
            if apart:
                other = self._gather(place, apart, half, [*key, 1], may_be_empty=True)
                series = _concatenate([series, other] if other else [series])
            pools.append(series)
        return pools

    def outliers(self) -> dict[str, float]:
        """For each sensor that is searched for outliers, their share of the observations read."""
        read: dict[str, list[tuple[int, int]]] = {}
        for patch in self._outliers.values():
            for name, counts in patch.items():
                read.setdefault(name, []).append(counts)
        sums = {name: np.sum(counts, axis=0) for name, counts in read.items()}
        return {name: float(some / max(total, 1)) for name, (some, total) in sums.items()}

    @property
    def _buffers_at_once(self) -> int:
        """With how many buffers steps take turns."""
        return min(MOST_BUFFERS, len(self.cubes))

    def _read_buffer(self, turn: int) -> Batch:
        if turn not in self._buffers:
            while len(self._buffers) >= self._buffers_at_once:
                self._buffers.popitem(last=False)
            key = [self.seed, BUFFER_KEY, turn]
            cube = int(np.random.default_rng(key).choice(len(self.cubes), p=self._share))
            self._buffers[turn] = Batch(cube, self._draw(cube, [*key, 1]))
        return self._buffers[turn]

    def _draw(self, cube: int, key: Sequence[int]) -> dict[str, Observations]:
        """The pixels of a buffer: of each class as many, where there are classes."""
        pixels, classes = BUFFER_BATCHES * self.batch_size, self._classes[cube]
        if not classes:
            return self._gather(cube, self._training[cube], pixels, key)
        each, parts = math.ceil(pixels / len(classes)), []
        for number, places in sorted(classes.items()):
            of_class = [*key, CLASS_KEY, number % 2**32]
            part = self._gather(cube, places, each, of_class, of=number, may_be_empty=True)
            if part:
                parts.append(part)
        if not parts:
            return self._gather(cube, self._training[cube], pixels, key)
        each = math.ceil(pixels / len(parts))  # of a class that nobody saw there are none
        return _concatenate(
            [_select(part, torch.arange(each) % len(next(iter(part.values())))) for part in parts]
        )

    def _shares(self, balance: str | Mapping[str, float]) -> np.ndarray:
        """How often each cube is drawn; calendars of one table are parts of one."""
        area = np.array(
            [
                sum(cube.sizes[place] for place in places)
                for cube, places in zip(self.cubes, self._training, strict=True)
            ]
        )
        if balance == "area":
            return area / sum(area)
        names = [cube.name for cube in self.cubes]
        whole = np.array([area[[other == name for other in names]].sum() for name in names])
        weights = dict.fromkeys(names, 1.0) if isinstance(balance, str) else balance
        share = area / whole * np.array([weights[name] for name in names])
        return share / share.sum()

    def _gather(
        self,
        cube: int,
        places: Sequence[int],
        pixels: int,
        key: Sequence[int],
        *,
        of: int | None = None,
        may_be_empty: bool = False,
    ) -> dict[str, Observations]:
        """Up to ``pixels`` pixels from patches in an order drawn by ``key``; {} for none.

        With ``of`` those of one class alone.

        Patches take turns, so that the first few pixels come from all over the cube as well.
        """
        generator = np.random.default_rng(key)
        share = math.ceil(pixels / min(len(places), BUFFER_PATCHES))
        parts: list[dict[str, Observations]] = []
        left = pixels
        for place in generator.permutation(places):
            block = self._read_patch(cube, int(place))
            usable = np.flatnonzero(block.observations.any(axis=0))
            classes = self.cubes[cube].classes(int(place)) if of is not None else None
            if classes is not None:
                usable = usable[classes[usable] == of]
            if usable.size:
                taken = min(share, left, usable.size)
                chosen = generator.choice(usable, taken, replace=False)
                parts.append(block.series(chosen))
                left -= taken
            if left == 0:
                break
        if not parts and not may_be_empty:
            raise InputError(
                f"{self.cubes[cube].name}: no pixel has a clear observation by "
                f"{', '.join(self.cubes[cube].sensors)}; build it for a longer period or another "
                "region."
            )
        turns = [np.arange(len(next(iter(part.values())))) for part in parts]
        order = np.argsort(np.concatenate([[], *turns]), kind="stable")
        return _select(_concatenate(parts), torch.from_numpy(order))

    def _read_patch(self, cube: int, place: int) -> SeriesBlock:
        """All series of one patch, from memory if it was read lately."""
        key = (cube, place)
        if key not in self._patches:
            block = self.cubes[cube].read(place)
            self._patches[key] = block
            self._outliers[key] = block.outliers()
        self._patches.move_to_end(key)
        while len(self._patches) > 1 and sum(map(_bytes, self._patches.values())) > CACHE_BYTES:
            self._patches.popitem(last=False)
        return self._patches[key]


def by_name(
    balance: str | Sequence[float], sources: Sequence[PixelSource]
) -> str | dict[str, float]:
    """How much each cube and table counts, by its name.

    Raises:
        InputError: If there is not a number above 0 for each.
    """
    if isinstance(balance, str):
        return balance
    names = list(dict.fromkeys(source.name for source in sources))
    if len(names) != len(balance) or not all(0.0 < weight < math.inf for weight in balance):
        raise InputError(
            f"balance {list(balance)} must be a number above 0 for each of {', '.join(names)}."
        )
    return dict(zip(names, map(float, balance), strict=True))


def _parts(source: PixelSource, *, apart: bool) -> list[int]:
    """The places of the parts kept apart, or of those for training."""
    return [place for place, mark in enumerate(source.apart) if mark == apart]


def _parts_by_class(source: PixelSource, places: Sequence[int]) -> dict[int, list[int]]:
    """For each class of a source, those of some parts that have pixels of it; {} without labels."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for place in places:
        classes = source.classes(place)
        for number in () if classes is None else np.unique(classes):
            found[int(number)].append(place)
    return dict(found)


def _bytes(block: SeriesBlock) -> int:
    """The memory of a patch, without its calendars."""
    return sum(
        series.packed.nbytes + series.clear.nbytes + series.distance.nbytes
        for series in block.by_sensor.values()
    )


def _select(series: Mapping[str, Observations], pixels: torch.Tensor) -> dict[str, Observations]:
    return {name: observations.select(pixels) for name, observations in series.items()}


def _concatenate(parts: Sequence[Mapping[str, Observations]]) -> dict[str, Observations]:
    """Join pixels of one cube, sensor by sensor; {} for no parts."""
    return {
        name: Observations.concatenate([part[name] for part in parts])
        for name in (parts[0] if parts else ())
    }
