"""Small networks on the lanes of vector instructions, in the Python that numba compiles.

As many rows as LANES go through all layers together, and what passes between two layers stays in
the cache. Whatever lane a row is in, it comes out the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from terralatent.models.compiled import source_of

__all__ = ["LANES", "TEXT", "exponential", "logistic", "multiply", "padded"]

Array = npt.NDArray[Any]

LANES = 64
"""Rows that go through a network together."""

TILE = 4
"""Inputs and outputs of a layer that are multiplied at a time; sizes are padded to multiples."""


def multiply(weights: Array, given: Array, made: Array, clipped: bool) -> None:
    """Multiply a layer's weights with its inputs, all lanes: four by four at a time, in registers.

    Args:
        weights: With the constants last, (J, K + 1), J and K multiples of 4.
        given: (K, LANES).
        made: (J, LANES); written.
        clipped: Whether what is negative becomes 0.
    """
    last = len(given)
    for j in range(0, len(weights), 4):
        a, b, c, d = made[j], made[j + 1], made[j + 2], made[j + 3]
        wa, wb, wc, wd = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        for m in range(LANES):
            a[m], b[m], c[m], d[m] = wa[last], wb[last], wc[last], wd[last]
        for k in range(0, last, 4):
            x0, x1, x2, x3 = given[k], given[k + 1], given[k + 2], given[k + 3]
            a0, a1, a2, a3 = wa[k], wa[k + 1], wa[k + 2], wa[k + 3]
            b0, b1, b2, b3 = wb[k], wb[k + 1], wb[k + 2], wb[k + 3]
            c0, c1, c2, c3 = wc[k], wc[k + 1], wc[k + 2], wc[k + 3]
            d0, d1, d2, d3 = wd[k], wd[k + 1], wd[k + 2], wd[k + 3]
            for m in range(LANES):
                p0, p1, p2, p3 = x0[m], x1[m], x2[m], x3[m]
                a[m] = a[m] + a0 * p0 + a1 * p1 + a2 * p2 + a3 * p3
                b[m] = b[m] + b0 * p0 + b1 * p1 + b2 * p2 + b3 * p3
                c[m] = c[m] + c0 * p0 + c1 * p1 + c2 * p2 + c3 * p3
                d[m] = d[m] + d0 * p0 + d1 * p1 + d2 * p2 + d3 * p3
        if clipped:
            for m in range(LANES):
                a[m], b[m] = max(a[m], np.float32(0)), max(b[m], np.float32(0))
                c[m], d[m] = max(c[m], np.float32(0)), max(d[m], np.float32(0))


def exponential(x: Any) -> Any:
    """The exponential of a float32, within 2e-7 of it; of -87 or 87 where that is beyond.

    Two to a whole power, written as the bits of a float, times the polynomial of the Cephes
    library (S. Moshier, expf): loops over lanes take it in vector instructions.
    """
    x = min(max(x, np.float32(-87)), np.float32(87))
    whole = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    r = x - whole * np.float32(0.693359375)
    r = r + whole * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    bits = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23))
    return (p * r * r + r + np.float32(1)) * bits.view(np.float32)


def logistic(x: Any) -> Any:
    """The logistic function of a float32."""
    return np.float32(1) / (np.float32(1) + exponential(-x))


TEXT = "\n\n".join([f"LANES = {LANES}", source_of((multiply, exponential, logistic))])
"""What is compiled."""


def padded(weights: Array, constants: Array) -> Array:
    """Weights (J, K) and constants (J,) as (J', K' + 1) for :func:`multiply`, float32."""
    rows, columns = (-(-size // TILE) * TILE for size in weights.shape)
    wide = np.zeros((rows, columns + 1), np.float32)
    wide[: len(weights), : weights.shape[1]] = weights
    wide[: len(weights), -1] = constants
    return wide
