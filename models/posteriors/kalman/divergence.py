"""The KL divergence of smoothed series from their prior, off the tape: numba compiles this Python.

With the variance s that the filter predicts for each site, log|B| of the dense form is the sum of
log(1 + w s):

    KL[q||p] = 1/2 sum_t ( log(1 + w_t s_t) - w_t v_t + m_t (eta_t - w_t m_t) )

The functions use nothing but numpy, math and the names in ``GIVEN`` of
:mod:`terralatent.models.posteriors.kalman.cpu_loops`, where they are called.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from terralatent.models.posteriors.kalman.program import LANES
from terralatent.models.posteriors.kalman.step import ETA, MEAN, SPREAD, VAR, W

Array = npt.NDArray[Any]


def score(tape: Array, divergence: Array) -> None:
    """Set the KL divergence of each lane from its prior, (LANES,), float64, after smoothing.

    The logarithm is taken once of the product of all 1 + w s. Its exponent is kept apart every few
    visits, so that it never overflows; in float64 a small KL is not lost in rounding.
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
