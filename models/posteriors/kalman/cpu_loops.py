"""The loops over tiles of series, in the Python that numba compiles.

They are compiled as source beside the sweeps that :mod:`terralatent.models.posteriors.kalman.step`
writes for a number of states, so they use nothing but numpy, math and the names in ``GIVEN``.
Arrays of sites have shape (N, T, C, width): C chunks of latents. One thread takes a span of tiles
of a chunk; what passes between two steps stays in its cache.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from terralatent.models.posteriors.kalman.program import GROUP, GROUPS, LANES
from terralatent.models.posteriors.kalman.step import CROSS, ETA, INNOVATION, MEAN, SPREAD, VAR, W

Array = npt.NDArray[Any]

GIVEN = {
    "GROUP": GROUP,
    "GROUPS": GROUPS,
    "LANES": LANES,
    "W": W,
    "ETA": ETA,
    "MEAN": MEAN,
    "VAR": VAR,
    "INNOVATION": INNOVATION,
    "SPREAD": SPREAD,
    "CROSS": CROSS,
}
"""All that the loops take from elsewhere, but for the walks."""


STATES = 1
"""Stands for the number of states, which each compiled module has its own of."""


def _written(tape: Array, bar: Array, state: Array, moves: Array, moves_bar: Array) -> None:
    """Stands for a walk of :func:`~terralatent.models.posteriors.kalman.step.sweep_sources`."""


filter_sites = smooth_sites = filter_all = smooth_all = smooth_back = filter_back = _written
carry = _written


def take(first: int, chunk: int, at: Array, source: Array, tape: Array, row: int) -> None:
    """Lay what ``source`` has for the series of a tile at steps' places ``at`` on the tape."""
    width = source.shape[3]
    per = GROUP // width
    count = min(len(source) - first, GROUPS * per)
    for v in range(len(at)):
        if at[v] < 0 or source.shape[1] == 0:
            continue
        record = tape[v, row * LANES : (row + 1) * LANES]
        if width == GROUP:
            for s in range(count):
                cells = source[first + s, at[v], chunk]
                for k in range(GROUP):
                    record[s * GROUP + k] = cells[k]
            for k in range(count * GROUP, LANES):
                record[k] = 0
        else:
            record[:] = 0
            for s in range(count):
                cells = source[first + s, at[v], chunk]
                to = (s // per) * GROUP + (s % per) * width
                for k in range(width):
                    record[to + k] = cells[k]


def give(first: int, chunk: int, at: Array, tape: Array, row: int, target: Array) -> None:
    """Write what :func:`take` reads."""
    width = target.shape[3]
    per = GROUP // width
    count = min(len(target) - first, GROUPS * per)
    for v in range(len(at)):
        if at[v] < 0 or target.shape[1] == 0:
            continue
        record = tape[v, row * LANES : (row + 1) * LANES]
        if width == GROUP:
            for s in range(count):
                cells = target[first + s, at[v], chunk]
                for k in range(GROUP):
                    cells[k] = record[s * GROUP + k]
        else:
            for s in range(count):
                cells = target[first + s, at[v], chunk]
                to = (s // per) * GROUP + (s % per) * width
                for k in range(width):
                    cells[k] = record[to + k]


def mask(tape: Array, values: Array) -> None:
    """Set w and eta of ``values`` to 0 where those of the tape have no precision."""
    for v in range(len(tape)):
        for k in range(LANES):
            if not tape[v, W * LANES + k] > 0:
                values[v, W * LANES + k] = 0
                values[v, ETA * LANES + k] = 0


def begin_at(start: Array, state: Array) -> None:
    """Set the state of all lanes to the moments before the first step."""
    for row in range(len(start)):
        for g in range(GROUPS):
            for k in range(GROUP):
                state[row * LANES + g * GROUP + k] = start[row, k]


def forward(
    begin: int,
    end: int,
    chunk: int,
    site_of: Array,
    rows: Array,
    moves: Array,
    start: Array,
    w: Array,
    eta: Array,
    tape: Array,
    state: Array,
    mean: Array,
    var: Array,
    spread: Array,
    innovation: Array,
    divergence: Array,
) -> None:
    """Filter and smooth the tiles from ``begin`` to ``end`` of a chunk.

    Outputs that are not wanted have no rows: mean and var to skip the smoother altogether.
    """
    scored = np.empty(LANES)
    first_scores = np.zeros(1, np.int64)
    size = GROUPS * (GROUP // w.shape[3])
    for tile in range(begin, end):
        first = tile * size
        take(first, chunk, site_of, w, tape, W)
        take(first, chunk, site_of, eta, tape, ETA)
        mask(tape, tape)
        begin_at(start, state)
        filter_sites(tape, tape, state, moves, moves)
        give(first, chunk, site_of, tape, SPREAD, spread)
        give(first, chunk, site_of, tape, INNOVATION, innovation)
        if mean.shape[1] > 0:
            state[:] = 0
            smooth_sites(tape, tape, state, moves, moves)
            give(first, chunk, rows, tape, MEAN, mean)
            give(first, chunk, rows, tape, VAR, var)
        if divergence.shape[1] > 0:
            score(tape, scored)
            give(first, chunk, first_scores, scored.reshape(1, -1), 0, divergence)


def advance(
    begin: int,
    end: int,
    chunk: int,
    site_of: Array,
    every: Array,
    moves: Array,
    start: Array,
    w: Array,
    eta: Array,
    tape: Array,
    state: Array,
    moments: Array,
    spread: Array,
    innovation: Array,
) -> None:
    """Filter alone, from moments (N, r, C, width) to those after the last step.

    ``every`` are their r places; outputs that are not wanted have no rows.
    """
    size = GROUPS * (GROUP // w.shape[3])
    rows = state.reshape(len(every), LANES)
    for tile in range(begin, end):
        first = tile * size
        take(first, chunk, site_of, w, tape, W)
        take(first, chunk, site_of, eta, tape, ETA)
        mask(tape, tape)
        take(first, chunk, every, start, rows, 0)
        filter_sites(tape, tape, state, moves, moves)
        give(first, chunk, every, rows, 0, moments)
        give(first, chunk, site_of, tape, SPREAD, spread)
        give(first, chunk, site_of, tape, INNOVATION, innovation)


def covary(
    begin: int,
    end: int,
    chunk: int,
    site_of: Array,
    rows: Array,
    queries: Array,
    pair_rows: Array,
    moves: Array,
    start: Array,
    w: Array,
    eta: Array,
    tape: Array,
    state: Array,
    mean: Array,
    covariance: Array,
) -> None:
    """Find means at the queries, and covariances of each with itself and those after it.

    ``queries`` are their steps, ascending; ``pair_rows[i]`` has for each step from the i-th query
    on the row of ``covariance`` for the two, -1 where it is no query.
    """
    size = GROUPS * (GROUP // w.shape[3])
    count = len(queries)
    psi = np.zeros((count, STATES, STATES, LANES), tape.dtype)
    kept = np.zeros((count, STATES, LANES), tape.dtype)
    u = np.zeros((2, STATES, LANES), tape.dtype)
    for tile in range(begin, end):
        first = tile * size
        take(first, chunk, site_of, w, tape, W)
        take(first, chunk, site_of, eta, tape, ETA)
        mask(tape, tape)
        begin_at(start, state)
        filter_sites(tape, tape, state, moves, moves)
        for i in range(count - 1):
            between, ahead = (
                tape[queries[i] : queries[i + 1]],
                moves[queries[i] : queries[i + 1] + 1],
            )
            for j in range(STATES):
                state[:] = 0
                state[j * LANES : (j + 1) * LANES] = 1
                carry(between, between, state, ahead, ahead)
                for h in range(STATES):
                    for k in range(LANES):
                        psi[i, h, j, k] = state[h * LANES + k]
        state[:] = 0
        smooth_all(tape, tape, state, moves, moves)
        give(first, chunk, rows, tape, MEAN, mean)
        for i in range(count):
            leave(tape[queries[i]], kept[i])
        for i in range(count):
            for j in range(STATES):
                for k in range(LANES):
                    u[0, j, k] = tape[queries[i], (SPREAD + j) * LANES + k]
            for r in range(i, count):
                if r > i:
                    for j in range(STATES):
                        u[1, j, :] = 0
                        for h in range(STATES):
                            for k in range(LANES):
                                u[1, j, k] += psi[r - 1, j, h, k] * u[0, h, k]
                    u[0, :, :] = u[1, :, :]
                record = tape[queries[r]]
                for k in range(LANES):
                    record[CROSS * LANES + k] = 0
                for j in range(STATES):
                    for k in range(LANES):
                        record[CROSS * LANES + k] += u[0, j, k] * kept[r, j, k]
            give(first, chunk, pair_rows[i], tape, CROSS, covariance)


def leave(record: Array, kept: Array) -> None:
    """Set what all that is seen from a step on leaves of an error there, (STATES, LANES): the
    first unit vector less what the smoother's adjoint takes of the predicted column."""
    adjoint = SPREAD - 1 + STATES + STATES * (STATES + 1) // 2 + STATES
    for j in range(STATES):
        for k in range(LANES):
            kept[j, k] = 1 if j == 0 else 0
        for h in range(STATES):
            low, high = min(j, h), max(j, h)
            place = low * STATES - low * (low - 1) // 2 + high - low
            for k in range(LANES):
                hold = record[(adjoint + place) * LANES + k]
                kept[j, k] -= hold * record[(SPREAD + h) * LANES + k]


def backward(
    begin: int,
    end: int,
    chunk: int,
    site_of: Array,
    rows: Array,
    moves: Array,
    start: Array,
    w: Array,
    eta: Array,
    tape: Array,
    state: Array,
    mean_bar: Array,
    var_bar: Array,
    spread_bar: Array,
    innovation_bar: Array,
    divergence_bar: Array,
    bar: Array,
    moves_bar: Array,
    start_bar: Array,
    w_bar: Array,
    eta_bar: Array,
) -> None:
    """Walk the same tiles again, and back from the adjoints of all outputs to those of inputs.

    Those of moves and start are added to, lane by lane.
    """
    seed = np.zeros((1, LANES), tape.dtype)
    first_scores = np.zeros(1, np.int64)
    size = GROUPS * (GROUP // w.shape[3])
    for tile in range(begin, end):
        first = tile * size
        take(first, chunk, site_of, w, tape, W)
        take(first, chunk, site_of, eta, tape, ETA)
        mask(tape, tape)
        begin_at(start, state)
        filter_all(tape, tape, state, moves, moves)
        bar[:] = 0
        take(first, chunk, site_of, spread_bar, bar, SPREAD)
        take(first, chunk, site_of, innovation_bar, bar, INNOVATION)
        take(first, chunk, rows, mean_bar, bar, MEAN)
        take(first, chunk, rows, var_bar, bar, VAR)
        if mean_bar.shape[1] > 0:
            state[:] = 0
            smooth_all(tape, tape, state, moves, moves)
            if divergence_bar.shape[1] > 0:
                take(first, chunk, first_scores, divergence_bar, seed, 0)
                score_back(tape, bar, seed[0])
            state[:] = 0
            smooth_back(tape, bar, state, moves, moves_bar)
        state[:] = 0
        filter_back(tape, bar, state, moves, moves_bar)
        for row in range(len(start_bar)):
            for g in range(GROUPS):
                for k in range(GROUP):
                    start_bar[row, k] += state[row * LANES + g * GROUP + k]
        mask(tape, bar)
        give(first, chunk, site_of, bar, W, w_bar)
        give(first, chunk, site_of, bar, ETA, eta_bar)


def score(tape: Array, divergence: Array) -> None:
    """Set the KL divergence of each lane from its prior, (LANES,), float64, after smoothing.

    With the variance s that the filter predicts for each site, log|B| of the dense form is the sum
    of log(1 + w s):

        KL[q||p] = 1/2 sum_t ( log(1 + w_t s_t) - w_t v_t + m_t (eta_t - w_t m_t) )

    The logarithm is taken once of the product of all 1 + w s. Its exponent is kept apart every few
    steps, so that it never overflows; in float64 a small KL is not lost in rounding.
    """
    product = np.ones(LANES)
    exponent = np.zeros(LANES, np.int64)
    bits = product.view(np.int64)
    divergence[:] = 0.0
    for v in range(len(tape)):
        record = tape[v]
        for k in range(len(divergence)):
            w = np.float64(record[W * LANES + k])
            mean = np.float64(record[MEAN * LANES + k])
            spread, var = record[SPREAD * LANES + k], record[VAR * LANES + k]
            divergence[k] += mean * (record[ETA * LANES + k] - w * mean) - w * var
            product[k] *= 1.0 + w * spread
        if v % 8 == 7 or v == len(tape) - 1:
            for k in range(len(bits)):
                exponent[k] += (bits[k] >> 52) - 1023
                bits[k] = (bits[k] & ((1 << 52) - 1)) | (1023 << 52)
    for k in range(len(product)):
        log = math.log(product[k]) + exponent[k] * math.log(2.0)
        divergence[k] = 0.5 * (divergence[k] + log)


def score_back(tape: Array, bar: Array, divergence_bar: Array) -> None:
    """Add the adjoint of :func:`score` to ``bar``."""
    for v in range(len(tape)):
        record, out = tape[v], bar[v]
        for k in range(LANES):
            half = divergence_bar[k] * record.dtype.type(0.5)
            w, eta = record[W * LANES + k], record[ETA * LANES + k]
            mean, var = record[MEAN * LANES + k], record[VAR * LANES + k]
            spread = record[SPREAD * LANES + k]
            share = half / (1 + w * spread)
            out[W * LANES + k] += share * spread - half * (mean * mean + var)
            out[ETA * LANES + k] += half * mean
            out[MEAN * LANES + k] += half * (eta - w * mean - w * mean)
            out[VAR * LANES + k] -= half * w
            out[SPREAD * LANES + k] += share * w


LOOPS = (take, give, mask, begin_at, score, score_back, leave, forward, advance, covary, backward)
"""What is compiled, after the walks."""
