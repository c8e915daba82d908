"""Which latents observations inform, and how much of the prior's variance they left."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from terralatent.pipeline.overviews.correlation import correlation_of

__all__ = ["INFORMATIVE", "information", "share_left"]

INFORMATIVE = 0.1
"""Nats, on average over pixels and dates, from which a latent counts."""


def information(latents: xr.Dataset) -> xr.DataArray:
    """How much each latent was narrowed: the mean of -log(std) over pixels and dates, in nats.

    The prior's std is 1, so that 0 is a latent that nothing informs. Of a level of the overviews,
    where ``std`` is that of a mean over pixels, it is what pixels of that std would have. Lazy;
    once computed it has read ``std``, or the variable ``information`` of ``latents`` where that is.

    Returns:
        (latent,), NaN where no pixel has a value.
    """
    if "information" in latents:
        return latents["information"]
    over = [dim for dim in latents["std"].dims if dim != "latent"]
    std = latents["std"].where(latents["std"] > 0)
    nats: xr.DataArray = -xr.apply_ufunc(np.log, std, dask="allowed").mean(over)
    return nats + np.log(_narrowed(latents, int(latents.attrs.get("level", 0))))


def share_left(chosen: xr.Dataset, nats: NDArray[np.float64]) -> tuple[NDArray[np.float32], int]:
    """The posterior variance of pixels as a share of the prior's, mean over informative latents.

    Those with less than :data:`INFORMATIVE` nats are left out, as they would add the same to every
    pixel; where none has more, all count. Computes: reads ``std`` of all latents, of a level of the
    overviews ``std_rms`` and ``std`` of those left out.

    Args:
        chosen: Dates of latents.
        nats: Values of :func:`information`.

    Returns:
        (time, y, x), 0 to 1; and of how many latents.
    """
    informed = nats >= INFORMATIVE
    if not informed.any():
        informed = np.ones_like(informed)
    count = int(informed.sum())
    if "std_rms" not in chosen:
        variance = chosen["std"].isel(latent=informed) ** 2
        return variance.mean("latent").transpose("time", "y", "x").values, count
    total = chosen["std_rms"] ** 2 * len(informed)
    if count < len(informed):
        total = total - (chosen["std"].isel(latent=~informed) ** 2).sum("latent", skipna=False)
    left = (total / count).clip(min=0.0)  # packing rounds
    return left.transpose("time", "y", "x").values.astype(np.float32), count


def _narrowed(latents: xr.Dataset, level: int) -> NDArray[np.float64]:
    """By what a mean over the pixels of a level is narrower than a pixel, (latent,) or (1,)."""
    if level == 0:
        return np.ones(1)
    std = latents["std"]
    known = correlation_of(
        latents.attrs, "latents", "std", tuple(map(str, std.dims)), tuple(std.shape)
    )
    if not known:  # errors count as the same
        return np.ones(1)
    rho = known[next((side for side in known if side >= 2**level), max(known))][:, 0, 0]
    return np.sqrt(rho + (1.0 - rho) / 4.0**level)
