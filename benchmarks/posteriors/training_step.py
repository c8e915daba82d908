"""How long a training step takes, with the compiled recursion and with eager autograd.

    python -m benchmarks.posteriors.training_step [--quick]

A GP-VAE of two made-up sensors, one with 10 bands on 130 days and 40 % of them clear, one with 2
bands on 100 days; 16 latents, the default kernel (2 states), 256 series. A step is the bound on
the evidence, its gradient and the optimiser's move. The same step is taken with the recursion
compiled (numba, analytic adjoint) and in eager torch, where autograd keeps every one of the 230
days; so is the posterior alone. Both are measured in turns in this one run, and the quickest of
each counts. One line for each measurement.
"""

from __future__ import annotations

import argparse
import math
import platform
import resource
import time
from collections.abc import Callable

import torch

from terralatent.models.gpvae import GPVAE, ModelConfig, SensorConfig
from terralatent.models.observations import Observations
from terralatent.models.posteriors import Markov
from terralatent.models.posteriors.kalman import dispatch

SENSORS = {"optical": (10, 130, 0.4), "radar": (2, 100, 1.0)}
"""Bands, days and the share of observations that are clear."""

WANTED = 4.0
"""How many times as fast a step with the compiled recursion must be."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 series, two rounds")
    options = parser.parse_args()
    series, rounds = (64, 2) if options.quick else (256, 5)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} torch threads")
    model = GPVAE(ModelConfig(sensors=tuple(map(_sensor, SENSORS))))
    seen = {name: _observations(name, series) for name in SENSORS}

    alone = _compare("posterior alone", _posterior(model, seen), rounds)
    step = _compare("training step", _step(model, seen), rounds)
    share = alone["compiled"] / step["compiled"]
    print(f"share of the posterior in a step with it compiled: {share:.0%}, the rest is networks")
    ratio = step["eager"] / step["compiled"]
    print(f"a step is {ratio:.1f} times as fast compiled (wanted: at least {WANTED:g})")


def _compare(name: str, work: Callable[[], None], rounds: int) -> dict[str, float]:
    """Time some work with both recursions by turns; seconds of the quickest round of each."""
    ways = {"compiled": 0, "eager": math.inf}
    seconds = dict.fromkeys(ways, math.inf)
    cpu = dict.fromkeys(ways, math.inf)
    for turn in range(rounds + 1):
        for way, compiled_from in ways.items():
            dispatch.COMPILED_FROM = compiled_from  # type: ignore[assignment]
            if turn == 0 and way == "eager":
                continue  # the first turn compiles, which eager torch does not
            spent, started = _cpu_seconds(), time.perf_counter()
            work()
            if turn:
                seconds[way] = min(seconds[way], time.perf_counter() - started)
                cpu[way] = min(cpu[way], _cpu_seconds() - spent)
    for way in ways:
        print(f"{name}, {way}: {1e3 * seconds[way]:.0f} ms ({1e3 * cpu[way]:.0f} ms of CPU time)")
    print(
        f"{name}: eager / compiled = {seconds['eager'] / seconds['compiled']:.1f} "
        f"({cpu['eager'] / cpu['compiled']:.1f} in CPU time)"
    )
    return seconds


def _posterior(model: GPVAE, seen: dict[str, Observations]) -> Callable[[], None]:
    """Posterior and KL with gradients of sites and kernel."""
    with torch.no_grad():
        sites = model.encode(seen)
    w, eta = sites.w.requires_grad_(), sites.eta.requires_grad_()
    print(f"{w.shape[0]} series, {w.shape[1]} days, {w.shape[2]} latents: forward and backward")

    def work() -> None:
        posterior = Markov().infer(model.kernel, sites.days, w, eta)
        total = posterior.mean.square().sum() + posterior.var.sum() + posterior.kl.sum()
        torch.autograd.grad(total, [w, eta, *model.kernel.parameters()])

    return work


def _step(model: GPVAE, seen: dict[str, Observations]) -> Callable[[], None]:
    optimiser = torch.optim.Adam(model.parameters())
    generator = torch.Generator().manual_seed(0)

    def work() -> None:
        optimiser.zero_grad()
        (-model.elbo(seen, seen, generator).elbo.mean()).backward()
        optimiser.step()

    return work


def _sensor(name: str) -> SensorConfig:
    count = SENSORS[name][0]
    return SensorConfig(
        name=name,
        bands=tuple(f"b{band}" for band in range(count)),
        units="reflectance",
        centre=(0.0,) * count,
        spread=(1.0,) * count,
    )


def _observations(name: str, series: int) -> Observations:
    bands, days, clear = SENSORS[name]
    rng = torch.Generator().manual_seed(days)
    valid = torch.rand(series, days, 1, generator=rng) < clear
    return Observations(
        days=(19_000.0 + 900.0 * torch.rand(days, generator=rng).double()).sort().values,
        values=torch.randn(series, days, bands, generator=rng),
        valid=valid.expand(-1, -1, bands).contiguous(),
        distance=16.0 * torch.rand(series, days, generator=rng),
        incidence=torch.full((days,), math.nan),
    )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
