"""States of a piece of work, a read unit of a cube or a block of a result, as stores keep them."""

from __future__ import annotations

__all__ = ["DONE", "PARTIAL", "PENDING"]

PENDING, DONE, PARTIAL = 0, 1, 2
"""Not done yet; done; done with something missing, which is masked, marked and named."""
