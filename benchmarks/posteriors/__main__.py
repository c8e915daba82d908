"""What the posteriors cost and how near they come, side by side in one run.

    python -m benchmarks.posteriors [--quick]

First the speed of the default form: 4,096 series of 130 irregular days over 480, 60 % of them
masked at random, 16 latents, float32, mean and variance at all days. The compiled recursion beside
its own eager torch form and beside GPyTorch's batched exact regression, by turns; the quickest of
each counts. Then all forms, each in a process of its own, on series of constant + Matern-3/2: time,
the memory they add, their error against exact, the bound on the evidence where they keep the
prior, and the density of hidden sites. Then the encoder in float32 and bfloat16. On a machine with
a CUDA device, encoder and posterior there; elsewhere a line says that they were not measured.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import platform
import resource
import threading
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import gpytorch
import torch
from torch import Tensor

from terralatent.models.gpvae import GPVAE, ModelConfig, SensorConfig
from terralatent.models.kernels import TemporalKernel, make_kernel
from terralatent.models.observations import Observations
from terralatent.models.posteriors import POSTERIORS, Markov, make_posterior
from terralatent.models.posteriors.contract import draws
from terralatent.models.posteriors.kalman import dispatch

LATENTS, DATES, SPACING = 16, 130, 480.0 / 130
MASKED = 0.6
LENGTHSCALES = torch.logspace(math.log10(12.0), math.log10(900.0), LATENTS)
TABLE_DATES = (64, 128, 256, 512)


class Sites(NamedTuple):
    """Series drawn from a kernel, seen in part."""

    days: Tensor
    w: Tensor
    eta: Tensor
    hidden: Tensor
    """Precision of the sites that were masked, 0 elsewhere."""
    hidden_y: Tensor


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer series, dates and rounds")
    options = parser.parse_args()
    print(
        f"{_processor()}, {torch.get_num_threads()} torch threads, torch {torch.__version__}, "
        f"gpytorch {gpytorch.__version__}"
    )
    with torch.no_grad():
        _speed(series=1024 if options.quick else 4096, rounds=3 if options.quick else 7)
        _table(
            TABLE_DATES[:2] if options.quick else TABLE_DATES, series=16 if options.quick else 256
        )
        _encoders(series=512)
        _accelerator(series=2**14 if options.quick else 2**18)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def kernel_of(description: str) -> TemporalKernel:
    """Return a kernel whose Matérn parts have lengthscales spread over the latents."""
    kernel = make_kernel(description, LATENTS)
    for module in kernel.modules():
        if hasattr(module, "set_lengthscale"):
            module.set_lengthscale(LENGTHSCALES)
    return kernel


def sites_of(description: str, series: int, dates: int, dtype: torch.dtype) -> Sites:
    """Draw series from a kernel on irregular days and mask most of their sites at random."""
    rng = torch.Generator().manual_seed(dates)
    span = SPACING * dates
    days = (19_000.0 + span * torch.rand(dates, generator=rng).double()).sort().values
    covariance = kernel_of(description).covariance(days[:, None] - days).movedim(-1, 0)
    few = min(series, 64)  # drawing is no part of what is measured
    truth = draws(covariance, (few,), rng).repeat(-(-series // few), 1, 1)[:series]
    w = 10.0 ** (2.0 * torch.rand(truth.shape, generator=rng).double())
    y = truth + torch.randn(truth.shape, generator=rng).double() / w.sqrt()
    seen = torch.rand(series, dates, 1, generator=rng) >= MASKED
    told = (w * seen, w * seen * y, w * ~seen, y)
    return Sites(days, *(each.to(dtype) for each in told))


def _speed(series: int, rounds: int) -> None:
    """The default form beside its eager form and beside GPyTorch, microseconds a series."""
    two, three = kernel_of("matern32"), kernel_of("constant+matern32")
    one, double = (sites_of("matern32", series, n, torch.float32) for n in (DATES, 2 * DATES))
    few = max(1, series // 512)
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "compiled, 2 states": (series, lambda: _markov(two, one, 0)),
        "compiled, 3 states": (series, lambda: _markov(three, one, 0)),
        "compiled, 2 states, twice the days": (series, lambda: _markov(two, double, 0)),
        "eager torch, 2 states": (series // 4, lambda: _markov(two, one, math.inf, series // 4)),
        "GPyTorch batched exact": (few, lambda: _gpytorch(two, one, few)),
    }
    best = dict.fromkeys(ways, math.inf)
    for turn in range(rounds + 1):  # the first compiles and warms up
        for name, (count, work) in ways.items():
            begun = time.perf_counter()
            work()
            if turn:
                best[name] = min(best[name], (time.perf_counter() - begun) / count * 1e6)
    print(f"\n{series} series, {DATES} days, {LATENTS} latents, float32: us a series")
    for name, micros in best.items():
        wanted = " (wanted: at most 15)" if name == "compiled, 2 states" else ""
        print(f"  {name}: {micros:,.1f}{wanted}")
    base = best["compiled, 2 states"]
    for told, ratio in {
        "eager over compiled (wanted: at least 10)": best["eager torch, 2 states"] / base,
        "GPyTorch over compiled (wanted: at least 300)": best["GPyTorch batched exact"] / base,
        "3 states over 2 (wanted: at most 3)": best["compiled, 3 states"] / base,
        "twice the days over once (wanted: at most 2.2)": best["compiled, 2 states, twice the days"]
        / base,
    }.items():
        print(f"  {told}: {ratio:,.2f}")


def _markov(kernel: TemporalKernel, sites: Sites, compiled_from: float, series: int = -1) -> None:
    dispatch.COMPILED_FROM = compiled_from  # type: ignore[assignment]
    some = slice(None) if series < 0 else slice(0, series)
    Markov().marginals(kernel, sites.days, sites.w[some], sites.eta[some])


def _gpytorch(kernel: TemporalKernel, sites: Sites, series: int) -> tuple[Tensor, Tensor]:
    """Regress all series and latents as one batch; masked sites have noise of variance 1e4."""
    w = sites.w[:series].movedim(1, 2).flatten(0, 1)
    y = (sites.eta[:series].movedim(1, 2).flatten(0, 1) / w.clamp_min(1e-4)).float()
    x = ((sites.days - sites.days[0]).float()[:, None]).expand(len(w), -1, 1)
    noise = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(1.0 / w.clamp_min(1e-4))
    scales = kernel.timescales()["matern32"].repeat(series)

    class Batch(gpytorch.models.ExactGP):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(x, y, noise)
            batch = torch.Size([len(w)])
            self.mean_module = gpytorch.means.ZeroMean(batch_shape=batch)
            self.covar_module = gpytorch.kernels.MaternKernel(nu=1.5, batch_shape=batch)
            self.covar_module.lengthscale = scales[:, None, None]

        def forward(self, at: Tensor) -> gpytorch.distributions.MultivariateNormal:
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(at), self.covar_module(at)
            )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gpytorch.utils.warnings.GPInputWarning)  # as is wanted
        told = Batch().eval()(x)
    return told.mean, told.variance


class Told(NamedTuple):
    """What one form says of one calendar."""

    mean: Tensor
    var: Tensor
    bound: float
    micros: float
    megabytes: float


def _table(dates: tuple[int, ...], series: int) -> None:
    """All forms beside exact, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    print(f"\n{series} series drawn from constant + Matérn-3/2, {LATENTS} latents, 60 % masked")
    print(
        "| days | form | us a series | of exact | MB | error of mean | error of std | "
        "bound on evidence | hidden density |\n|---|---|---|---|---|---|---|---|---|"
    )
    for count in dates:
        sites = sites_of("constant+matern32", series, count, torch.float32)
        told = {}
        for name in ("exact", *(n for n in POSTERIORS if n != "exact")):
            with context.Pool(1) as pool:
                told[name] = pool.apply(_tell, (name, series, count))
        exact = told["exact"]
        for name, each in told.items():
            print(_row(name, each, exact, sites))


def _row(name: str, each: Told, exact: Told, sites: Sites) -> str:
    """Errors are root mean squares, in posterior standard deviations of exact."""
    std = exact.var.sqrt()
    off = float(((each.mean - exact.mean) / std).square().mean().sqrt())
    wide = float((each.var.sqrt() / std - 1.0).square().mean().sqrt())
    seen, hidden = sites.w > 0, sites.hidden > 0
    bound = f"{each.bound / int(seen.sum()):.4f}" if POSTERIORS[name].keeps_prior else "no prior"
    spread = each.var + 1.0 / sites.hidden.where(hidden, 1.0)
    density = -0.5 * (
        (sites.hidden_y - each.mean).square() / spread + (2.0 * math.pi * spread).log()
    )
    return (
        f"| {len(sites.days)} | `{make_posterior(name)}` | {each.micros:,.0f} | "
        f"{each.micros / exact.micros:.3f} | {each.megabytes:,.0f} | {off:.1e} | {wide:.1e} | "
        f"{bound} | {float(density[hidden].mean()):.4f} |"
    )


def _tell(name: str, series: int, count: int) -> Told:
    """Time one form in this process, and see how far its memory rises."""
    dispatch.COMPILED_FROM = 0
    form, kernel = make_posterior(name), kernel_of("constant+matern32")
    sites = sites_of("constant+matern32", series, count, torch.float32)
    given = (kernel, sites.days, sites.w, sites.eta)
    with torch.no_grad():
        form.marginals(kernel, sites.days, sites.w[:2], sites.eta[:2])  # compiles, imports
        peak = _Peak()
        with peak:
            mean, var = form.marginals(*given)
        best, spent, rounds = math.inf, 0.0, 0
        while rounds < 1 or (rounds < 7 and spent < 5.0):
            begun = time.perf_counter()
            form.marginals(*given)
            taken = time.perf_counter() - begun
            best, spent, rounds = min(best, taken), spent + taken, rounds + 1
        bound = float(form.log_evidence(*given).double().sum())
    return Told(mean, var, bound, best / series * 1e6, peak.megabytes)


class _Peak:
    """How far the resident memory of this process rises above where it was, looked at often."""

    def __enter__(self) -> None:
        self.megabytes, self._done = 0.0, threading.Event()
        before, page = self._pages(), resource.getpagesize() / 2**20

        def look() -> None:
            while not self._done.wait(0.0005):
                self.megabytes = max(self.megabytes, (self._pages() - before) * page)

        self._looker = threading.Thread(target=look)
        self._looker.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._looker.join()

    @staticmethod
    def _pages() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1])


def _encoders(series: int) -> None:
    """The encoder's networks in both types on the CPU, microseconds for all of a series' dates."""
    model, seen = _model(series, torch.device("cpu"))
    print(f"\nencoder, {DATES} days, {1.0 - MASKED:.0%} of them clear, 10 bands")
    for dtype in (torch.float32, torch.bfloat16):
        model.encode_in(dtype)
        micros = _quickest(lambda: model.encode(seen)) / series * 1e6
        print(f"  networks in {dtype}: {micros:,.1f} us a series")


def _accelerator(series: int) -> None:
    """Encoder in bfloat16 and posterior on a CUDA device, series a second."""
    if not torch.cuda.is_available():
        print("\nNOT MEASURED: encoder and posterior on a GPU; there is no CUDA device here")
        return
    model, seen = _model(series, torch.device("cuda"))
    model.encode_in(torch.bfloat16)
    sites = model.encode(seen)
    given = (model.kernel, sites.days, sites.w, sites.eta)
    ways = {
        "encoder in bfloat16": lambda: model.encode(seen),
        "posterior": lambda: model.inference.marginals(*given),
        "both (wanted: at least 5)": lambda: model.posterior(seen),
    }
    print(f"\n{torch.cuda.get_device_name()}: {series} series, {DATES} days, {LATENTS} latents")
    for name, work in ways.items():
        print(f"  {name}: {series / _quickest(work) / 1e6:.2f} million series a second")


def _model(series: int, device: torch.device) -> tuple[GPVAE, dict[str, Observations]]:
    """A model of one sensor and what it saw."""
    bands = 10
    rng = torch.Generator(device).manual_seed(0)
    optical = SensorConfig(
        name="optical",
        bands=tuple(f"B{i}" for i in range(bands)),
        units="reflectance",
        centre=(0.0,) * bands,
        spread=(1.0,) * bands,
    )
    model = GPVAE(ModelConfig(sensors=(optical,), latents=LATENTS)).to(device)
    clear = torch.rand(series, DATES, 1, generator=rng, device=device) >= MASKED
    seen = Observations(
        days=sites_of("matern32", 1, DATES, torch.float32).days.to(device),
        values=torch.randn(series, DATES, bands, generator=rng, device=device),
        valid=clear.expand(-1, -1, bands).contiguous(),
        distance=torch.full((series, DATES), 16.0, device=device),
        incidence=torch.full((DATES,), math.nan, device=device),
    )
    return model, {"optical": seen}


def _quickest(work: Callable[[], object]) -> float:
    """Seconds of the quickest of some rounds, the first left out."""
    best = math.inf
    for turn in range(7):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        begun = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if turn:
            best = min(best, time.perf_counter() - begun)
    return best


if __name__ == "__main__":
    main()
