"""Clear-sky rules as a user writes them, to be found by their names."""

from __future__ import annotations

import numpy as np


def vegetation(quality: np.ndarray) -> np.ndarray:
    """Class 4 of the scene classification alone."""
    return np.asarray(quality == 4)


def anything(quality: np.ndarray) -> np.ndarray:
    """All that is not called no data."""
    return np.asarray(quality != 0)


def confidence(quality: np.ndarray) -> np.ndarray:
    """No rule: it does not answer yes or no."""
    return np.asarray(quality, dtype=np.float32)


NUMBER = 4
"""No function."""
