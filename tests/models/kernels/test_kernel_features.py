"""Laws of the features of every kernel: finite bases that have its covariance."""

import pytest
import torch
from torch import Tensor

from terralatent.models.kernels import (
    Matern12,
    Matern32,
    Matern52,
    TemporalKernel,
)
from tests.made.kernels import KERNELS, SPAN, calendar


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> TemporalKernel:
    return KERNELS[request.param](1.0)


def errors(kernel: TemporalKernel, days: Tensor, count: int) -> dict[str, float]:
    """Return the largest error of the covariance of each part."""
    expected = kernel.part_covariance(days[:, None] - days)
    got = kernel.part_features(days, SPAN, count)
    return {
        part.name: (torch.einsum("slm,tlm->stl", own, own) - want).abs().max().item()
        for part, own, want in zip(kernel.parts, got, expected.unbind(-1), strict=True)
    }


def test_features_have_the_covariance(kernel: TemporalKernel) -> None:
    """To rounding without a Matérn factor; else to a stated number that falls with the count."""
    few, some, many = (errors(kernel, calendar(), count) for count in (16, 32, 64))

    for name in few:
        if "matern" not in name:
            assert few[name] < 1e-11
            continue
        rough = "matern12" in name
        assert many[name] < (0.15 if rough else 0.01)
        assert many[name] < 0.7 * some[name] < 0.6 * few[name]


@pytest.mark.parametrize(
    ("kind", "limit"), [(Matern12, 0.02), (Matern32, 1.5e-4), (Matern52, 2e-5)]
)
def test_the_ends_of_a_long_span_are_covered(kind: type[Matern12], limit: float) -> None:
    """At lengthscales that are neither short nor long beside the span of five years."""
    days = torch.linspace(19_000.0, 20_800.0, 61).double()
    kernel = kind(3, torch.tensor([150.0, 200.0, 400.0]))

    features = kernel.features(days, (19_000.0, 20_800.0), 256)

    got = torch.einsum("slm,tlm->stl", features, features)
    torch.testing.assert_close(got, kernel.covariance(days[:, None] - days), rtol=0.0, atol=limit)


def test_features_lie_side_by_side(kernel: TemporalKernel) -> None:
    days = calendar()
    parts = kernel.part_features(days, SPAN, 4)

    features = kernel.features(days, SPAN, 4)

    assert features.dtype == torch.float64
    assert len(parts) == len(kernel.parts)
    assert torch.equal(features, torch.cat(parts, dim=-1))


def test_origin_of_the_calendar_is_free(kernel: TemporalKernel) -> None:
    days, span = calendar(), SPAN
    days = (days * 1024).round() / 1024  # so that adding a thousand years rounds nothing
    shift = 365_242.0

    here = kernel.features(days, span, 8)
    there = kernel.features(days + shift, (span[0] + shift, span[1] + shift), 8)

    torch.testing.assert_close(here @ here.mT, there @ there.mT, rtol=0.0, atol=1e-10)
