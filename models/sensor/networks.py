"""Encoder and decoder of one sensor: a linear part to start from and a small network beside it."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from terralatent.models.observations import DISTANCE_CAP
from terralatent.models.sensor.band_fill import BandFill

YEAR_DAYS = 365.2425
"""Mean length of the year by which days since 1970 are folded into a day of year."""

CONTEXT = 5
"""Numbers beside bands and flags: those of :func:`acquisition_context`, and the distance."""

INPUT_LIMIT = 10.0
"""Networks see normalised values clipped to this; the linear parts see them as they are."""

LOG_DIAG_RANGE = (-9.0, 6.0)
"""Bounds of the log-diagonal of the scale matrix, in squared normalised units."""


def season(days: Tensor) -> Tensor:
    """Return sine and cosine of the time of year, shape (*, 2), float32.

    Args:
        days: Days since 1970-01-01, any shape, float64; folded in float64.
    """
    angle = torch.remainder(days / YEAR_DAYS, 1.0) * (2.0 * math.pi)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).float()


def acquisition_context(days: Tensor, incidence: Tensor) -> Tensor:
    """Describe acquisitions by what all pixels share: time of year and view.

    Args:
        days: Days since 1970-01-01, shape (T,), float64.
        incidence: Incidence angle in degrees, NaN where unknown, shape (T,), float32.

    Returns:
        Sine and cosine of the time of year, the scaled angle (0 where unknown) and whether it
        is known, shape (T, 4), float32.
    """
    known = incidence.isfinite()
    angle = torch.where(known, (torch.where(known, incidence, 40.0) - 40.0) / 10.0, 0.0)
    return torch.cat([season(days), angle.unsqueeze(-1), known.float().unsqueeze(-1)], dim=-1)


def _zeroed(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _set(target: Tensor, value: Tensor, name: str) -> None:
    """Copy ``value`` into a parameter or buffer of the same shape."""
    if tuple(value.shape) != tuple(target.shape):
        raise ValueError(f"{name}: got shape {tuple(value.shape)}, wanted {tuple(target.shape)}.")
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{name} must be finite.")
    with torch.no_grad():
        target.copy_(value)


class Encoder(nn.Module):
    r"""Turn one observation into a Gaussian pseudo-observation of each latent.

    .. math:: \tilde y = E x / s + c + h(u), \quad w = w_{cap}\, \sigma(a + g(u))\, s, \quad
        s_l = \sum_b valid_b F_{lb}

    Here u holds the normalised bands (where missing, 0 or what the others say of them), their
    validity flags, the time of year,
    the view and the distance to the nearest masked pixel. The networks h and g share a trunk and
    are zero at the start. The share s_l is 1 when every band is valid, and 0 when none is: then
    w is exactly 0. Each observation is encoded alone, so the order of dates means nothing.

    Args:
        bands: Number of bands B.
        latents: Number of latents L.
        hidden: Width of the two hidden layers.
        precision_cap: Largest precision w.
        fills: Whether missing bands are filled, see :class:`BandFill`; then x is whole, and is not
            divided by s.
    """

    share: Tensor

    def __init__(
        self,
        bands: int,
        latents: int,
        *,
        hidden: int,
        precision_cap: float,
        fills: bool = False,
    ) -> None:
        super().__init__()
        self.fill = BandFill(bands) if fills else None
        self.precision_cap = precision_cap
        self.network_dtype = torch.float32
        self.linear = nn.Parameter(torch.randn(latents, bands) / math.sqrt(bands))
        self.bias = nn.Parameter(torch.zeros(latents))
        self.log_precision = nn.Parameter(torch.full((latents,), -3.0))
        self.register_buffer("share", torch.full((latents, bands), 1.0 / bands))
        self.network = nn.Sequential(
            nn.Linear(2 * bands + CONTEXT, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            _zeroed(nn.Linear(hidden, 2 * latents)),
        )

    def set_linear(
        self, linear: Tensor, log_precision: Tensor, share: Tensor, bias: Tensor | None = None
    ) -> None:
        """Set the part that acts while the networks are zero.

        Args:
            linear: E, latent units per normalised unit, shape (L, B).
            log_precision: a, the logit of w / precision_cap with all bands valid, shape (L,).
            share: F, the part of each latent's precision that each band brings, shape (L, B),
                not negative, rows summing to 1.
            bias: c, latent units, shape (L,); zero if None.

        Raises:
            ValueError: If a shape differs, a value is not finite, or share is not a share.
        """
        total = share.sum(dim=-1)
        if bool((share < 0).any()) or not torch.allclose(total, torch.ones_like(total), atol=1e-4):
            raise ValueError(
                "share must not be negative and each latent's shares must sum to 1, got sums "
                f"{[round(float(part), 4) for part in total]}."
            )
        _set(self.linear, linear, "linear")
        _set(self.bias, torch.zeros_like(self.bias) if bias is None else bias, "bias")
        _set(self.log_precision, log_precision, "log_precision")
        _set(self.share, share / total.unsqueeze(-1), "share")

    def forward(
        self, values: Tensor, valid: Tensor, context: Tensor, distance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode M observations.

        Args:
            values: Normalised bands, shape (M, B), float32; not read where not valid.
            valid: shape (M, B), bool.
            context: Of each observation's date, from :func:`acquisition_context`, shape (M, 4).
            distance: Pixels to the nearest masked pixel, shape (M,), float32.

        Returns:
            Precision w and information eta = w * y, shape (M, L), both exactly 0 where no band
            is valid.
        """
        x = torch.where(valid, values, 0.0)
        flags = valid.to(x.dtype)
        if self.fill is not None:
            x = self.fill(x, valid)
        near = (distance.clamp(0.0, DISTANCE_CAP) / DISTANCE_CAP).unsqueeze(-1)
        inputs = torch.cat([x.clamp(-INPUT_LIMIT, INPUT_LIMIT), flags, context, near], dim=-1)
        shift, gain = self.outputs(inputs).chunk(2, dim=-1)
        share = functional.linear(flags, self.share)
        some = share > 0.0
        y = functional.linear(x, self.linear)
        if self.fill is None:
            y = y / torch.where(some, share, 1.0)
        y = y + self.bias + shift
        w = self.precision_cap * torch.sigmoid(self.log_precision + gain) * share.clamp_max(1.0)
        return w, w * y

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return what the networks h and g say of rows of inputs, (M, 2 L), float32.

        Args:
            inputs: Bands, their flags, context and distance, shape (M, 2 B + CONTEXT), float32.
        """
        coarse = self.network_dtype == torch.bfloat16
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=coarse):
            return cast(Tensor, self.network(inputs)).float()


class Decoder(nn.Module):
    r"""Turn a latent vector into the location and scale of a sensor's bands, normalised units.

    .. math:: \mu = b + D z + h(z, u), \quad
        \Sigma = diag(e^{d + g(z, u)}) + F F^T

    Here u is the time of year with a flag that says whether it is known. The networks h and g
    share a trunk and are zero at the start. The columns of F are white nuisance latents, what an
    acquisition alone does to all bands at once (haze, residual atmosphere): :math:`x = \mu + F n`
    with :math:`n \sim N(0, I)`, integrated in closed form and never exported.

    Args:
        bands: Number of bands B.
        latents: Number of latents L.
        hidden: Width of the hidden layer.
        nuisance: Number of nuisance latents U.
    """

    def __init__(self, bands: int, latents: int, *, hidden: int, nuisance: int = 2) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(bands))
        self.linear = nn.Parameter(torch.randn(bands, latents) / math.sqrt(latents))
        self.log_diag = nn.Parameter(torch.full((bands,), -2.0))
        self.factor = nn.Parameter(0.1 * torch.randn(bands, nuisance))
        self.network = nn.Sequential(
            nn.Linear(latents + 3, hidden), nn.SiLU(), _zeroed(nn.Linear(hidden, 2 * bands))
        )

    def set_linear(self, bias: Tensor, linear: Tensor, log_diag: Tensor, factor: Tensor) -> None:
        """Set the part that acts while the networks are zero.

        Args:
            bias: b, shape (B,), normalised units.
            linear: D, normalised units per latent unit, shape (B, L).
            log_diag: d, log of the diagonal of the scale matrix (squared normalised units),
                shape (B,); clipped to LOG_DIAG_RANGE.
            factor: F, shape (B, U), normalised units.

        Raises:
            ValueError: If a shape differs or a value is not finite.
        """
        _set(self.bias, bias, "bias")
        _set(self.linear, linear, "linear")
        _set(self.log_diag, log_diag.clamp(*LOG_DIAG_RANGE), "log_diag")
        _set(self.factor, factor, "factor")

    def forward(
        self, latent: Tensor, seasons: Tensor, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Decode M latent vectors.

        Args:
            latent: z, shape (M, L), float32.
            seasons: From :func:`season`, shape (M, 2), float32.
            known: Whether the decoder knows the time of year, shape (M,), bool; None: always.

        Returns:
            Location and log-diagonal of the scale matrix, shape (M, B), normalised units. The
            factor of the scale matrix is :attr:`factor`.
        """
        flag = torch.ones_like(latent[:, :1])
        if known is not None:
            flag = known.to(latent.dtype).unsqueeze(-1)
        inputs = torch.cat([latent.clamp(-INPUT_LIMIT, INPUT_LIMIT), seasons * flag, flag], dim=-1)
        shift, growth = cast(Tensor, self.network(inputs)).chunk(2, dim=-1)
        location = self.bias + functional.linear(latent, self.linear) + shift
        return location, (self.log_diag + growth).clamp(*LOG_DIAG_RANGE)
