"""Small tables of pixel series, in which every pixel has dates of its own."""

from __future__ import annotations

import numpy as np
import pandas as pd

S1, S2 = "sentinel-1-asc", "sentinel-2-l2a"
OPTICAL, RADAR = ("B02", "B03", "B04"), ("vv", "vh")
FIRST = np.datetime64("2018-01-01T10:30:00", "us")
DAYS = 365


def made_up_rows(pixels: int = 40, *, seed: int = 0, shared: int = 0) -> pd.DataFrame:
    """Rows of pixels, each with 8 to 30 times of its own within a year, to the second.

    Columns ``pixel``, ``time``, ``lon``, ``lat``, ``group``, ``label``, bands of Sentinel-2 in some
    rows and of Sentinel-1 with its angle in the others, values missing here and there.

    Args:
        pixels: How many.
        seed: Of all that is drawn.
        shared: So many of them have the times of the first.
    """
    draw = np.random.default_rng(seed)
    parts = []
    for pixel in range(pixels):
        if pixel == 0 or pixel >= shared:
            count = int(draw.integers(8, 30))
            seconds = np.sort(draw.choice(DAYS * 86_400, count, replace=False))
            radar = draw.random(count) < 0.4
        rows = pd.DataFrame({"pixel": f"p{pixel:03d}", "time": FIRST + seconds * 1_000_000})
        rows["lon"], rows["lat"] = 5.0 + pixel / 100, 51.0
        rows["group"], rows["label"] = pixel // 4, "wheat" if pixel % 2 else "maize"
        level = draw.uniform(0.05, 0.4)
        for place, band in enumerate(OPTICAL):
            values = level + 0.05 * place + 0.02 * draw.standard_normal(count)
            missing = radar | (draw.random(count) < 0.1)
            rows[band] = np.where(missing, np.nan, values).astype(np.float32)
        for place, band in enumerate(RADAR):
            values = -10.0 - 6.0 * place + draw.standard_normal(count)
            rows[band] = np.where(radar, values, np.nan).astype(np.float32)
        rows["angle"] = np.where(radar, np.where(pixel % 3 == 0, 31.5, 38.25), np.nan)
        rows["angle"] = rows["angle"].astype(np.float32)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


COLUMNS = {
    S2: {band: band for band in OPTICAL},
    S1: {**{band: band for band in RADAR}, "incidence": "angle"},
}
"""Where such a table has what."""
