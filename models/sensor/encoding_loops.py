"""The encoder of a sensor from packed integers to sites, in the Python that numba compiles.

Observations are the lanes of vector instructions. Compiled as source, so they use nothing but
numpy, the loops of :mod:`terralatent.models.sensor.lanes` and the names in ``GIVEN``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from terralatent.models.observations import DISTANCE_CAP
from terralatent.models.sensor.lanes import LANES, logistic, multiply
from terralatent.models.sensor.networks import INPUT_LIMIT

Array = npt.NDArray[Any]

GIVEN = {"DISTANCE_CAP": DISTANCE_CAP, "INPUT_LIMIT": INPUT_LIMIT}
"""All that the loops take from elsewhere, beside those of ``lanes``."""


def encode_all(
    start: int,
    packed: Array,
    clear: Array,
    distance: Array,
    pixels: Array,
    bands: Array,
    numbers: Array,
    normal: Array,
    context: Array,
    places: Array,
    patterns: Array,
    guesses: Array,
    linear: Array,
    first: Array,
    second: Array,
    third: Array,
    share: Array,
    whole: bool,
    cap: float,
    values: Array,
    inputs: Array,
    one: Array,
    two: Array,
    outputs: Array,
    w: Array,
    eta: Array,
) -> int:
    """Encode the observations of N pixels from a place on, and lay them where the smoother reads.

    Args:
        start: Pixel times T plus date.
        packed: (P, T, C).
        clear: (P, T), uint8.
        distance: (P, T), float32.
        pixels: Which of P, (N,).
        bands: Which of the sensor's B bands the C are, (C,).
        numbers: Fill value, scale and offset, (3,), float32.
        normal: Centre and spread, (2, B), float32.
        context: (T, K), float32.
        places: Of the dates along all days, (T,).
        patterns: Which bands are valid of rows that lack some, as bits, (G,), uint64.
        guesses: By pattern, what the valid bands say of all, and the constant, (G, B, B + 1).
        linear: Of latents by bands, with the constant last, (L', B' + 1); padded as all that
            follow.
        first: Layer of the network, by its inputs, and the constant, (H', K' + 1).
        second: The next, (H', H' + 1).
        third: The last, shifts and then logits of the precision, (2 L', H' + 1).
        share: Of each band in the precision of each latent, (L, B).
        whole: Whether missing bands are filled.
        cap: Largest precision.
        values: Normalised bands by lane, (B', LANES), as the following written over.
        inputs: Of the network, (K', LANES).
        one: After the first layer, (H', LANES).
        two: After the second, (H', LANES).
        outputs: After the last, and the linear part, (3 L', LANES).
        w: (N, T', L); written.
        eta: (N, T', L); written.

    Returns:
        Where to go on: N T at the end, or a place whose pattern is not among them; then less 1
        and negative.
    """
    dates, half = clear.shape[1], 2 * len(linear)
    at = np.zeros((4, LANES), np.int64)
    bits = np.empty(LANES, np.uint64)
    weights = (first, second, third, linear)
    given = (inputs, one, two, values)
    made = (one, two, outputs[:half], outputs[half:])
    place, end, stopped = start, len(pixels) * dates, False
    while place < end and not stopped:
        lanes, place = choose(place, packed, clear, pixels, places, numbers[0], at)
        unpack(packed, bands, numbers, normal, at, values, inputs, bits)
        if whole:
            known = fill(lanes, bits, patterns, guesses, values)
            stopped = known < lanes
            if stopped:  # all before it is done, so that it is the first of the next call
                lanes, place = known, at[0, known] * dates + at[2, known]
        describe(normal.shape[1], context, distance, at, values, inputs)
        for layer in range(len(weights)):
            multiply(weights[layer], given[layer], made[layer], layer < 2)
        lay(lanes, at, bits, linear, share, whole, cap, outputs, w, eta)
    return -place - 1 if stopped else place


def choose(
    place: int,
    packed: Array,
    clear: Array,
    pixels: Array,
    places: Array,
    nothing: float,
    at: Array,
) -> tuple[int, int]:
    """Give the next observations a lane each; return how many there are, and where to go on.

    Args:
        place: Pixel times T plus date.
        packed: (P, T, C).
        clear: (P, T), uint8.
        pixels: Which of P, (N,).
        places: Of the dates along all days, (T,).
        nothing: The fill value.
        at: Of each lane the place among the pixels, the pixel, the date, and the date's place;
            written.
    """
    dates, lane = clear.shape[1], 0
    n, t = place // dates, place % dates
    while n < len(pixels) and lane < LANES:
        pixel = pixels[n]
        while t < dates and lane < LANES:
            if clear[pixel, t]:
                for c in range(packed.shape[2]):
                    if np.float32(packed[pixel, t, c]) != nothing:
                        at[0, lane], at[1, lane], at[2, lane], at[3, lane] = n, pixel, t, places[t]
                        lane += 1
                        break
            t += 1
        if t == dates:
            n, t = n + 1, 0
    return lane, n * dates + t


def unpack(
    packed: Array,
    bands: Array,
    numbers: Array,
    normal: Array,
    at: Array,
    values: Array,
    inputs: Array,
    bits: Array,
) -> None:
    """Lay the normalised bands of all lanes down, their flags, and both as bits."""
    wide = normal.shape[1]
    raw = np.empty(LANES, np.float32)
    values[:] = 0
    inputs[:] = 0
    bits[:] = 0
    for c in range(len(bands)):
        b = bands[c]
        own, flags, bit = values[b], inputs[wide + b], np.uint64(1) << np.uint64(b)
        centre, spread = normal[0, b], normal[1, b]
        for m in range(LANES):
            raw[m] = packed[at[1, m], at[2, m], c]
        for m in range(LANES):
            there = raw[m] != numbers[0]
            value = (raw[m] * numbers[1] + numbers[2] - centre) / spread
            own[m] = value if there else np.float32(0)
            flags[m] = np.float32(1) if there else np.float32(0)
        for m in range(LANES):
            bits[m] |= bit if flags[m] > 0 else np.uint64(0)


def fill(lanes: int, bits: Array, patterns: Array, guesses: Array, values: Array) -> int:
    """Fill bands that are missing; return how many lanes there are before an unknown pattern."""
    wide = guesses.shape[1]
    every = np.uint64((1 << wide) - 1)
    for m in range(lanes):
        there = bits[m]
        if there == every:
            continue
        g = 0
        while g < len(patterns) and patterns[g] != there:
            g += 1
        if g == len(patterns):
            return m
        for b in range(wide):
            if not (there >> np.uint64(b)) & np.uint64(1):
                guess = guesses[g, b, wide]
                for c in range(wide):  # what is missing counts with 0
                    guess += guesses[g, b, c] * values[c, m]
                values[b, m] = guess
    return lanes


def describe(
    wide: int, context: Array, distance: Array, at: Array, values: Array, inputs: Array
) -> None:
    """Lay down the rest of the inputs: clipped bands, the date's context, and the distance."""
    last = 2 * wide
    for b in range(wide):
        given, made = values[b], inputs[b]
        for m in range(LANES):
            made[m] = min(max(given[m], -np.float32(INPUT_LIMIT)), np.float32(INPUT_LIMIT))
    for k in range(context.shape[1]):
        made = inputs[last + k]
        for m in range(LANES):
            made[m] = context[at[2, m], k]
    made = inputs[last + context.shape[1]]
    for m in range(LANES):
        near = min(max(distance[at[1, m], at[2, m]], np.float32(0)), np.float32(DISTANCE_CAP))
        made[m] = near / np.float32(DISTANCE_CAP)


def lay(
    lanes: int,
    at: Array,
    bits: Array,
    weights: Array,
    share: Array,
    whole: bool,
    cap: float,
    outputs: Array,
    w: Array,
    eta: Array,
) -> None:
    """Lay precision and information of lanes where the smoother reads them.

    Args:
        lanes: How many of them have an observation.
        at: Of each its pixel first and its date's place last, (4, LANES).
        bits: Which of its bands are valid, (LANES,), uint64.
        weights: Of the linear part, with the constant last.
        share: Of each band in the precision of each latent, (L, B).
        whole: Whether missing bands were filled.
        cap: Largest precision.
        outputs: Shifts, logits and what the linear part made, (3 L', LANES).
        w: (N, T', L); written.
        eta: (N, T', L); written.
    """
    latents, half = w.shape[2], len(weights)
    every = np.uint64((1 << share.shape[1]) - 1)
    shift, gain, linear = outputs[:half], outputs[half : 2 * half], outputs[2 * half :]
    for k in range(latents):
        for m in range(LANES):
            gain[k, m] = cap * logistic(gain[k, m])
            linear[k, m] += shift[k, m]
    for m in range(lanes):
        precision, information = w[at[0, m], at[3, m]], eta[at[0, m], at[3, m]]
        if bits[m] == every:
            for k in range(latents):
                precision[k] = gain[k, m]
                information[k] = gain[k, m] * linear[k, m]
            continue
        for k in range(latents):
            part = np.float32(0)
            for b in range(share.shape[1]):
                if (bits[m] >> np.uint64(b)) & np.uint64(1):
                    part += share[k, b]
            y = linear[k, m]
            if not whole and part > 0:
                rest = shift[k, m] + weights[k, -1]  # which are not of the bands alone
                y = (y - rest) / part + rest
            precision[k] = gain[k, m] * min(part, np.float32(1))
            information[k] = precision[k] * y


LOOPS = (encode_all, choose, unpack, fill, describe, lay)
"""What is compiled."""
