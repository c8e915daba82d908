"""The compiled recursion is the eager one, for values, gradients, any batch and any threads."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from terralatent.models.kernels import Constant, Matern12, Matern32, Sum, TemporalKernel
from terralatent.models.posteriors import fused, markov, recursion
from terralatent.models.posteriors.chain import link
from terralatent.models.posteriors.straightline import LANES, Program

KERNELS: dict[str, Callable[[], TemporalKernel]] = {
    "one state": lambda: Matern12(2, torch.tensor([9.0, 300.0])),
    "three states": lambda: Sum([Constant(2), Matern32(2, torch.tensor([9.0, 300.0]))]),
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def make_case(series: int, dtype: torch.dtype = torch.float64) -> SimpleNamespace:
    rng = torch.Generator().manual_seed(series)
    days = 19_000.0 + (400.0 * torch.rand(9, generator=rng)).double().sort().values
    days[3] = days[2]
    shape = (series, 9, 2)
    w = (100.0 * torch.rand(shape, generator=rng)).to(dtype)
    w = w * (torch.rand(shape, generator=rng) < 0.6)
    eta = w * torch.randn(shape, generator=rng).to(dtype)
    return SimpleNamespace(
        days=days, w=w, eta=eta, queries=torch.tensor([19_500.0, 18_990.0, float(days[4])]).double()
    )


def compare(kernel: TemporalKernel, case: SimpleNamespace, tolerance: float) -> None:
    """Compare all outputs of both recursions, and the gradients of a random sum of them."""
    outcomes = []
    for walk in (recursion.walk, fused.walk):
        w, eta = (each.clone().requires_grad_() for each in (case.w, case.eta))
        parameters = list(kernel.parameters())
        chain = link(kernel, case.days, case.queries, w)
        options = {"predicted": True} if walk is fused.walk else {}
        outputs = walk(chain, w, eta, sites=True, **options)  # type: ignore[operator]
        rng = torch.Generator().manual_seed(0)
        total = sum(
            (each * torch.randn(each.shape, generator=rng, dtype=torch.float64)).sum()
            for each in outputs
        )
        gradients = torch.autograd.grad(total, [w, eta, *parameters])  # type: ignore[arg-type]
        outcomes.append([*outputs, *gradients])
    for eager, compiled in zip(*outcomes, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "kernel", [pytest.param("one state", marks=pytest.mark.slow), "three states"]
)
@pytest.mark.parametrize("series", [1, LANES, 2 * LANES + 5])
def test_values_and_gradients(kernel: str, series: int) -> None:
    compare(KERNELS[kernel]().double(), make_case(series), 1e-9)


@pytest.mark.slow
def test_values_and_gradients_in_float32() -> None:
    compare(KERNELS["three states"](), make_case(70, torch.float32), 1e-3)


def test_threads_change_no_bit() -> None:
    case = make_case(3 * LANES + 1)
    answers = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        kernel = KERNELS["three states"]().double()
        w = case.w.clone().requires_grad_()
        walk = fused.walk(
            link(kernel, case.days, case.queries, w), w, case.eta, sites=True, predicted=True
        )
        sum(each.sum() for each in walk).backward()  # type: ignore[union-attr]
        answers.append([*walk, w.grad, *(p.grad for p in kernel.parameters())])

    for one, two, three in zip(*answers, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_only_what_is_asked_for_is_given() -> None:
    case = make_case(5)
    chain = link(KERNELS["three states"]().double(), case.days, case.queries, case.w)

    with torch.no_grad():
        whole = fused.walk(chain, case.w, case.eta, sites=True, predicted=True)
        queries = fused.walk(chain, case.w, case.eta, sites=False, predicted=False)

    assert queries.mean.shape == queries.spread.shape == (5, 0, 2)
    assert torch.equal(queries.query_mean, whole.query_mean)
    assert torch.equal(queries.query_var, whole.query_var)


def test_large_work_is_compiled_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(70)
    kernel = KERNELS["three states"]().double()
    arguments = (kernel, case.days, case.w, case.eta)

    small = markov.infer(*arguments, case.queries)
    evidence = markov.log_evidence(*arguments)
    monkeypatch.setattr(markov, "COMPILED_FROM", 0)
    monkeypatch.setattr(recursion, "walk", None)
    large = markov.infer(*arguments, case.queries)

    for name in ("mean", "var", "query_mean", "query_var", "kl"):
        torch.testing.assert_close(getattr(large, name), getattr(small, name))
    torch.testing.assert_close(markov.log_evidence(*arguments), evidence)
    torch.testing.assert_close(markov.marginals(*arguments, case.queries)[1], small.query_var)


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
