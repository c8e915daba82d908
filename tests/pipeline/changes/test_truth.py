"""Where the truth is known: what did not move is seldom marked, what did is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from terralatent.models.differences import latent_differences, latents_at_two
from terralatent.models.gpvae import GPVAE
from terralatent.models.observations import Observations
from terralatent.pipeline.changes.discovery import discover
from terralatent.pipeline.changes.runs import Values, moved_between
from terralatent.pipeline.changes.significance import minus_log10_p
from tests.made.drawn import NOISE, drawn_model, drawn_pool

PIXELS, DATES = 3_000, 60
DAYS = 17_000.0 + 6.0 * torch.arange(DATES, dtype=torch.float64)
A, B = 15, 45
"""Places of the dates that are compared."""


def observed(truth: Tensor, seed: int) -> dict[str, Observations]:
    """Series of a truth (N, T, 3), with the noise that the model of the tests expects."""
    draw = torch.Generator().manual_seed(seed)
    values = truth + NOISE * torch.randn(truth.shape, generator=draw)
    masked = torch.rand(truth.shape[:2], generator=draw) < 0.4
    return {
        "optical": Observations(
            days=DAYS,
            values=values,
            valid=~masked[..., None].expand_as(values),
            distance=torch.full(truth.shape[:2], 16.0),
            incidence=torch.full((DATES,), torch.nan),
        )
    }


def levels(seed: int) -> Tensor:
    """Each pixel stays where it is, at the levels that the prior expects."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(PIXELS, 1, 3, generator=draw).expand(-1, DATES, -1).clone()


def significance(made: GPVAE, seen: dict[str, Observations]) -> NDArray[np.float32]:
    differences = latent_differences(*latents_at_two(made, seen, DAYS[[A, B]]))
    squared = differences.standardised().square().sum(-1).numpy()
    degrees = (differences.variance > 0).sum(-1).numpy()
    return minus_log10_p(squared, degrees).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_what_did_not_move_is_as_significant_as_chance_makes_it_or_less(seed: int) -> None:
    p = 10.0 ** -significance(drawn_model(), observed(levels(seed), seed))

    for level in (0.5, 0.2, 0.05, 0.01):
        margin = 3.0 * np.sqrt(level * (1.0 - level) / PIXELS)
        assert (p <= level).mean() <= level + margin


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_steps_are_found_and_false_discoveries_are_few(share: float) -> None:
    truth, draw = levels(7), torch.Generator().manual_seed(8)
    moved = torch.rand(PIXELS, generator=draw) < share
    truth[moved, DATES // 2 :] += 1.5 * torch.randn(int(moved.sum()), 1, 3, generator=draw)
    values = significance(drawn_model(), observed(truth, 9))

    marked = discover(lambda: [values], 0.05).among(values)

    wrong = (marked & ~moved.numpy()).sum() / max(1, marked.sum())
    assert wrong <= 0.05 + 2.0 * np.sqrt(0.05 / marked.sum())
    assert marked[moved.numpy()].mean() > 0.8


def test_nothing_is_found_where_nothing_moved() -> None:
    values = significance(drawn_model(), observed(levels(11), 12))

    assert discover(lambda: [values], 0.05).count <= 1


# Between runs: series of which more is seen, of a truth that is drawn from the model.


def runs(made: GPVAE, first: int, day: int, packed: bool) -> tuple[Values, Values]:
    """Means and standard deviations at a day, by the first observations and by all of them."""
    pool = drawn_pool(made)
    own = pool["optical"]
    hidden = torch.arange(len(own.days)) >= first
    before = replace(own, valid=own.valid & ~hidden[None, :, None])
    found = []
    for seen in (before, own):
        mean, var = made.infer({"optical": seen}, own.days[[day]])
        pair = [values[:, 0].T.double().numpy() for values in (mean, var.sqrt())]
        steps = (2.5e-4, 2e-5) if packed else (0.0, 0.0)
        if packed:
            pair = [np.rint(own_ / step) * step for own_, step in zip(pair, steps, strict=True)]
        found.append(Values(*pair, *steps))
    return found[0], found[1]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("first", "day"), [(50, 50), (50, 53), (30, 60), (0, 40)])
def test_what_grows_moves_as_chi_squared(first: int, day: int, packed: bool) -> None:
    older, newer = runs(drawn_model(), first, day, packed)

    moved = moved_between(older, newer)

    assert (moved.degrees == 3).all()
    assert stats.kstest(moved.squared, stats.chi2(3).cdf).pvalue > 0.01


def test_a_latent_that_is_no_better_known_has_no_degree() -> None:
    older, newer = runs(drawn_model(), 50, 52, packed=True)
    std = older.std.copy()
    std[1] = newer.std[1]
    std[2] = newer.std[2] + 2e-5  # a step of the packing, which says nothing
    mean = older.mean + 1.0

    moved = moved_between(replace(older, std=std, mean=mean), newer)

    assert (moved.degrees == 1).all()
    np.testing.assert_array_equal(moved.parts["standardised"][:, 1:], 0.0)
    nothing = moved_between(newer, newer)
    assert not nothing.degrees.any()
    assert not nothing.squared.any()


def test_a_newer_run_that_contradicts_is_found() -> None:
    older, newer = runs(drawn_model(), 50, 53, packed=True)
    off = newer.mean.copy()
    off[:, :20] += 2.5
    moved = moved_between(older, replace(newer, mean=off))
    values = minus_log10_p(moved.squared, moved.degrees).astype(np.float32)

    marked = discover(lambda: [values], 0.05).among(values)

    assert marked[:20].mean() > 0.9
    assert marked[20:].mean() < 0.05
