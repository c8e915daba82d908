"""The compiled recursion is the eager one, for values, gradients, any batch and any threads."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from terralatent.models.kernels import Constant, Matern12, Matern32, Sum, TemporalKernel
from terralatent.models.posteriors import Markov
from terralatent.models.posteriors.kalman import cpu, dispatch, eager
from terralatent.models.posteriors.kalman.chain import Chain, link, masked
from terralatent.models.posteriors.kalman.program import LANES, Program

KERNELS: dict[str, Callable[[int], TemporalKernel]] = {
    "one state": lambda latents: Matern12(latents, lengthscales(latents)),
    "two states": lambda latents: Matern32(latents, lengthscales(latents)),
    "three states": lambda latents: Sum([Constant(latents), KERNELS["two states"](latents)]),
    "four states": lambda latents: Sum([Matern32(latents), KERNELS["two states"](latents)]),
    "five states": lambda latents: Sum([Matern32(latents), KERNELS["three states"](latents)]),
}


def lengthscales(latents: int) -> Tensor:
    return torch.linspace(9.0, 300.0, latents)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def make_case(series: int, latents: int = 2, precision: float = 100.0) -> SimpleNamespace:
    rng = torch.Generator().manual_seed(series)
    days = 19_000.0 + (400.0 * torch.rand(9, generator=rng)).double().sort().values
    days[3] = days[2]
    shape = (series, 9, latents)
    w = precision * torch.rand(shape, generator=rng).double()
    w = w * (torch.rand(shape, generator=rng) < 0.6)
    eta = w * torch.randn(shape, generator=rng).double()
    return SimpleNamespace(
        days=days, w=w, eta=eta, queries=torch.tensor([19_500.0, 18_990.0, float(days[4])]).double()
    )


Outputs = tuple[Tensor, ...]


def walked(chain: Chain, w: Tensor, eta: Tensor) -> Outputs:
    return tuple(cpu.walk(chain, w, eta, sites=True, predicted=True))


def walked_eagerly(chain: Chain, w: Tensor, eta: Tensor) -> Outputs:
    return tuple(eager.walk(chain, *masked(w, eta), sites=True))


def smoothed(chain: Chain, w: Tensor, eta: Tensor) -> Outputs:
    return tuple(cpu.smooth(chain, w, eta))


def smoothed_eagerly(chain: Chain, w: Tensor, eta: Tensor) -> Outputs:
    """With KL[q||p] as DESIGN has it, where log|B| is the sum of log(1 + w s)."""
    w, eta = masked(w, eta)
    walk = eager.walk(chain, w, eta, sites=True)
    kl = torch.log1p(w * walk.spread) - w * walk.var + walk.mean * (eta - w * walk.mean)
    return walk.mean, walk.var, walk.query_mean[..., 0], walk.query_var[..., 0], 0.5 * kl.sum(1)


def compare(
    kernel: TemporalKernel,
    case: SimpleNamespace,
    ways: tuple[Callable[[Chain, Tensor, Tensor], Outputs], ...],
    tolerance: float,
    dtype: torch.dtype = torch.float64,
) -> None:
    """Compare the outputs of a compiled way with those of an eager one in float64.

    So are the gradients of a random sum of them.
    """
    outcomes = []
    for way, kind in zip(ways, (dtype, torch.float64), strict=True):
        w, eta = (each.to(kind).requires_grad_() for each in (case.w.clone(), case.eta.clone()))
        outputs = way(link(kernel, case.days, case.queries, w), w, eta)
        rng = torch.Generator().manual_seed(0)
        total = sum(
            (each * torch.randn(each.shape, generator=rng, dtype=torch.float64)).sum()
            for each in outputs
        )
        gradients = torch.autograd.grad(total, [w, eta, *kernel.parameters()])  # type: ignore[arg-type]
        outcomes.append([*outputs, *gradients])
    for compiled, reference in zip(*outcomes, strict=True):
        scale = float(reference.detach().abs().max())
        torch.testing.assert_close(
            compiled.double(), reference.double(), rtol=tolerance, atol=tolerance * scale
        )


@pytest.mark.parametrize("series", [1, LANES, 2 * LANES + 5])
def test_values_and_gradients(series: int) -> None:
    kernel = KERNELS["three states"](2).double()
    compare(kernel, make_case(series), (walked, walked_eagerly), 1e-9)
    compare(kernel, make_case(series), (smoothed, smoothed_eagerly), 1e-9)


@pytest.mark.parametrize("latents", [1, 7, 16, 17, 20, 32])
def test_any_number_of_latents_fills_the_lanes(latents: int) -> None:
    kernel = KERNELS["three states"](latents).double()
    compare(kernel, make_case(13, latents), (smoothed, smoothed_eagerly), 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("states", ["one state", "two states", "four states", "five states"])
def test_values_and_gradients_of_other_states(states: str) -> None:
    kernel = KERNELS[states](3).double()
    compare(kernel, make_case(20, 3), (walked, walked_eagerly), 1e-8)
    compare(kernel, make_case(20, 3), (smoothed, smoothed_eagerly), 1e-8)


@pytest.mark.slow
def test_values_and_gradients_in_float32() -> None:
    kernel = KERNELS["three states"](2)
    compare(kernel, make_case(70), (smoothed, smoothed_eagerly), 1e-3, torch.float32)


@pytest.mark.parametrize(("precision", "wanted"), [(1e-3, 1e-4), (1e2, 1e-4), (1e4, 1e-3)])
def test_kl_in_float32(precision: float, wanted: float) -> None:
    case, kernel = make_case(200, 16, precision), KERNELS["three states"](16)
    w, eta = case.w.float(), case.eta.float()
    w[0], eta[0] = 0.0, 0.0
    chain = link(kernel, case.days, case.queries, w)
    with torch.no_grad():
        kl = cpu.smooth(chain, w, eta).kl
        exactly = link(kernel.double(), case.days, case.queries, w.double())
        truth = smoothed_eagerly(exactly, w.double(), eta.double())[-1]

    assert torch.equal(kl[0], torch.zeros(16))
    torch.testing.assert_close(kl.double(), truth, rtol=wanted, atol=wanted * float(truth.mean()))


def test_the_size_of_a_batch_changes_no_bit() -> None:
    case, kernel = make_case(150, 10), KERNELS["three states"](10).double()
    chain = link(kernel, case.days, case.queries, case.w)
    with torch.no_grad():
        whole = walked(chain, case.w, case.eta)
        for first, size in ((0, 1), (3, 32), (77, 73)):
            some = slice(first, first + size)
            parts = walked(chain, case.w[some], case.eta[some])
            for part, all_of_it in zip(parts, whole, strict=True):
                assert torch.equal(part, all_of_it[some])


def test_threads_change_no_bit() -> None:
    case = make_case(3 * LANES + 1)
    answers = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        kernel = KERNELS["three states"](2).double()
        w = case.w.clone().requires_grad_()
        walk = cpu.walk(
            link(kernel, case.days, case.queries, w), w, case.eta, sites=True, predicted=True
        )
        sum(each.sum() for each in walk).backward()  # type: ignore[union-attr]
        answers.append([*walk, w.grad, *(p.grad for p in kernel.parameters())])

    for one, two, three in zip(*answers, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_only_what_is_asked_for_is_given() -> None:
    case = make_case(5)
    chain = link(KERNELS["three states"](2).double(), case.days, case.queries, case.w)

    with torch.no_grad():
        whole = cpu.walk(chain, case.w, case.eta, sites=True, predicted=True)
        queries = cpu.walk(chain, case.w, case.eta, sites=False, predicted=False)

    assert queries.mean.shape == queries.spread.shape == (5, 0, 2)
    assert torch.equal(queries.query_mean, whole.query_mean)
    assert torch.equal(queries.query_var, whole.query_var)


def test_large_work_is_compiled_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(70)
    kernel = KERNELS["three states"](2).double()
    arguments = (kernel, case.days, case.w, case.eta)

    small = Markov().infer(*arguments, case.queries)
    evidence = Markov().log_evidence(*arguments)
    monkeypatch.setattr(dispatch, "COMPILED_FROM", 0)
    monkeypatch.setattr(eager, "walk", None)
    large = Markov().infer(*arguments, case.queries)

    for name in ("mean", "var", "query_mean", "query_var", "kl"):
        torch.testing.assert_close(getattr(large, name), getattr(small, name))
    torch.testing.assert_close(Markov().log_evidence(*arguments), evidence)
    torch.testing.assert_close(Markov().marginals(*arguments, case.queries)[1], small.query_var)


def test_a_program_is_differentiated() -> None:
    """The adjoint of a small program, run line by line, against autograd."""

    def step(a: Tensor, b: Tensor, zero: Tensor, one: Tensor) -> tuple[Tensor, Tensor]:
        ratio = (a * b + one) / (a - b * b)
        return ratio * ratio - a, ratio + zero * b

    program = Program()
    a, b = program.inputs(["a", "b"])
    results = step(a, b, program.zero, program.one)  # type: ignore[arg-type]
    seeds = program.inputs(["seed0", "seed1"])
    bar = program.adjoint({r.name: s for r, s in zip(results, seeds, strict=True)})  # type: ignore

    scope = {"a": 1.3, "b": -0.4, "seed0": 0.7, "seed1": -1.1, "zero": 0.0, "one": 1.0}
    for result, sign, left, right in program.operations:
        scope[result.name] = eval(f"{left.name} {sign} {right.name}", {}, scope)

    at = torch.tensor([1.3, -0.4], dtype=torch.float64, requires_grad=True)
    first, second = step(at[0], at[1], torch.tensor(0.0), torch.tensor(1.0))
    (0.7 * first - 1.1 * second).backward()
    assert [scope[bar["a"].name], scope[bar["b"].name]] == pytest.approx(at.grad.tolist())
