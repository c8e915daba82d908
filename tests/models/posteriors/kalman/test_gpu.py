"""The recursion for GPUs is the eager one, played on the CPU, interpreted and compiled by Triton.

What the kernels' source says is tested wherever torch runs: a stand-in for Triton's language plays
it in numpy, and sees whoever leaves an array. Triton's own interpreter and compiler need Triton
installed, and a launch a GPU.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from terralatent.models.kernels import Constant, Matern12, Matern32, Matern52, Sum, TemporalKernel
from terralatent.models.posteriors.kalman import eager, gpu
from terralatent.models.posteriors.kalman.chain import Walk, link
from terralatent.models.posteriors.kalman.gpu_source import (
    KernelSource,
    backward_source,
    forward_source,
)


def scales(latents: int) -> Tensor:
    return torch.linspace(9.0, 300.0, latents, dtype=torch.float64)


KERNELS: dict[int, Callable[[int], TemporalKernel]] = {
    1: lambda latents: Matern12(latents, scales(latents)),
    2: lambda latents: Matern32(latents, scales(latents)),
    3: lambda latents: Sum([Constant(latents), Matern32(latents, scales(latents))]),
    5: lambda latents: Sum(
        [Matern32(latents, scales(latents)), Matern52(latents, scales(latents))]
    ),
}
CASES = [(1, 1, 5), (2, 16, 3), (3, 3, 19), (5, 2, 33)]
"""States, latents and series: a full tile and one that is not, latents padded and not."""

by_case = pytest.mark.parametrize(("states", "latents", "series"), CASES)


def walked(
    walk: Callable[..., Walk],
    states: int,
    latents: int,
    series: int,
    *,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    sites: bool = True,
    predicted: bool = True,
    queried: bool = True,
) -> list[Tensor]:
    """Return all outputs for made-up sites, and the gradients of a random sum of them.

    There are two sites on one day, masked sites, a series without any, a query on a site's day and
    two outside the calendar.
    """
    rng = torch.Generator().manual_seed(states)
    days = 19_000.0 + (400.0 * torch.rand(6, generator=rng)).double().sort().values
    days[3] = days[2]
    queries = torch.tensor([19_500.0, 18_990.0, float(days[4])]).double()
    shape = (series, len(days), latents)
    w = 100.0 * torch.rand(shape, generator=rng).double()
    w = w * (torch.rand(shape, generator=rng) < 0.6)
    w[0] = 0.0
    eta = w * torch.randn(shape, generator=rng).double()
    w, eta = (tensor.to(device, dtype).requires_grad_() for tensor in (w, eta))
    kernel = KERNELS[states](latents).double().to(device)
    queries = queries if queried else queries[:0]
    chain = link(kernel, days.to(device), queries.to(device), w)
    options = {} if walk is eager.walk else {"predicted": predicted}
    outputs = walk(chain, w, eta, sites=sites, **options)
    if not predicted:
        outputs = outputs._replace(spread=w[:, :0], innovation=w[:, :0])
    weights = [torch.randn(tensor.shape, generator=rng).to(tensor) for tensor in outputs]
    total = torch.stack([(a * b).sum() for a, b in zip(outputs, weights, strict=True)]).sum()
    gradients = torch.autograd.grad(total, [w, eta, *kernel.parameters()])
    return [tensor.detach().cpu() for tensor in (*outputs, *gradients)]


def agree(got: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    for one, other in zip(got, wanted, strict=True):
        size = max(1.0, float(other.abs().max())) if other.numel() else 1.0
        torch.testing.assert_close(
            one.double(), other.double(), rtol=tolerance, atol=tolerance * size
        )


class Block(np.ndarray):
    """A tensor of lanes in the stand-in for Triton's language."""

    def to(self, dtype: type) -> np.ndarray:
        return self.astype(dtype)


@dataclass(frozen=True)
class Pointer:
    """Places in an array, one or one for each lane."""

    memory: np.ndarray
    at: Any = 0

    @property
    def dtype(self) -> SimpleNamespace:
        return SimpleNamespace(element_ty=self.memory.dtype)

    def __add__(self, offset: Any) -> "Pointer":
        return Pointer(self.memory, self.at + offset)

    def places(self, mask: Any) -> tuple[np.ndarray, np.ndarray]:
        at, used = np.broadcast_arrays(self.at, mask)
        assert np.all((at[used] >= 0) & (at[used] < len(self.memory)))
        return at, used


def load(pointer: Pointer, mask: Any = True, other: float = 0.0) -> np.ndarray:
    at, used = pointer.places(mask)
    values = np.full(at.shape, other, pointer.memory.dtype)
    values[used] = pointer.memory[at[used]]
    return values.view(Block)


def store(pointer: Pointer, value: Any, mask: Any = True) -> None:
    at, used = pointer.places(mask)
    assert len(np.unique(at[used])) == used.sum(), "two lanes write to one place"
    assert value.dtype == pointer.memory.dtype
    pointer.memory[at[used]] = np.broadcast_to(value, at.shape)[used]


class Played:
    """A kernel's source run in numpy, program by program."""

    def __init__(self, source: KernelSource) -> None:
        self.turn, self.programs = 0, 1
        language = SimpleNamespace(
            **{name: getattr(np, name) for name in ("minimum", "maximum", "int32", "int64")},
            zeros=lambda shape, dtype: np.zeros(shape, dtype).view(Block),
            constexpr=int,
            load=load,
            store=store,
            arange=lambda first, last: np.arange(first, last).view(Block),
            cdiv=lambda a, b: -(-a // b),
            sum=lambda value, axis, keep_dims: value.sum(axis, keepdims=keep_dims),
            program_id=lambda axis: np.asarray(self.turn).view(Block),
            num_programs=lambda axis: self.programs,
            debug_barrier=lambda: None,
        )
        self.scope: dict[str, Any] = {
            "triton": SimpleNamespace(jit=lambda do_not_specialize: lambda function: function),
            "tl": language,
        }
        exec(source.text, self.scope)
        self.kernel = self.scope[source.name]

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def launch(*given: Any, **constants: Any) -> None:
            arguments = [
                Pointer(each.detach().numpy().reshape(-1)) if isinstance(each, Tensor) else each
                for each in given
            ]
            sizes = {name: value for name, value in constants.items() if name.isupper()}
            (self.programs,) = grid
            for turn in range(self.programs):
                self.turn = turn
                self.kernel(*arguments, **sizes)

        return launch


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "compiled_kernel", Played)
    # Tiles are more than programs, and not a multiple of them.
    monkeypatch.setattr(gpu, "FORWARD_SHARE", 1)
    monkeypatch.setattr(gpu, "BACKWARD_SHARE", 2)


@by_case
@pytest.mark.usefixtures("played")
def test_values_and_gradients(states: int, latents: int, series: int) -> None:
    case = states, latents, series
    agree(walked(gpu.walk, *case), walked(eager.walk, *case), 1e-11)


@pytest.mark.usefixtures("played")
def test_values_and_gradients_in_float32() -> None:
    got = walked(gpu.walk, 3, 3, 19, dtype=torch.float32)
    assert {tensor.dtype for tensor in got[:8]} == {torch.float32}
    agree(got, walked(eager.walk, 3, 3, 19), 2e-4)


@pytest.mark.parametrize(
    ("sites", "predicted", "queried"),
    [given for given in itertools.product([True, False], repeat=3) if any(given)],
)
@pytest.mark.usefixtures("played")
def test_only_what_is_wanted_is_given(sites: bool, predicted: bool, queried: bool) -> None:
    options = {"sites": sites, "predicted": predicted, "queried": queried}
    got = walked(gpu.walk, 2, 3, 9, **options)
    assert got[0].shape[1] == (6 if sites else 0)
    assert got[4].shape[1] == (6 if predicted else 0)
    agree(got, walked(eager.walk, 2, 3, 9, **options), 1e-11)


@pytest.mark.parametrize(("series", "sites", "queried"), [(0, True, True), (4, False, False)])
@pytest.mark.usefixtures("played")
def test_nothing_is_walked_where_nothing_is(series: int, sites: bool, queried: bool) -> None:
    kernel = KERNELS[2](3)
    days = torch.arange(5, dtype=torch.float64) if series == 0 else torch.zeros(0).double()
    w = torch.ones(series, len(days), 3, dtype=torch.float64)
    chain = link(kernel, days, days[:2], w)

    walk = gpu.walk(chain, w, w, sites=sites, predicted=True)

    assert walk.mean.shape == walk.spread.shape == w.shape
    assert walk.query_mean.shape == (series, len(days[:2]), 3, 1)


def test_the_forward_tape_holds_what_the_smoother_needs() -> None:
    for states in KERNELS:
        assert forward_source(states, smoothed=True, predicted=False).rows == states + 1
        assert forward_source(states, smoothed=False, predicted=True).rows == 0


def test_a_cpu_is_no_gpu() -> None:
    assert not gpu.available(torch.device("cpu"))


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What Triton's interpreter finds; Triton must hear of it before it is first imported."""
    pytest.importorskip("triton", reason="Triton is not installed; it comes with torch for CUDA")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: its own tests (-m gpu) say more")
    file = tmp_path_factory.mktemp("interpreted") / "walk.safetensors"
    command = [sys.executable, "-m", "tests.models.posteriors.kalman.test_gpu", str(file)]
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        command,
        cwd=root,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    if "only 0-dimensional arrays can be converted" in done.stderr:
        pytest.skip("the interpreter of this Triton is older than this numpy (2.4)")
    assert done.returncode == 0, done.stderr
    return load_file(file)


def test_triton_interprets_the_source_as_it_is_meant(interpreted: dict[str, Tensor]) -> None:
    wanted = walked(eager.walk, 2, 3, 9)
    agree([interpreted[str(at)] for at in range(len(wanted))], wanted, 1e-11)


@pytest.mark.parametrize("make", [forward_source, backward_source])
def test_triton_compiles_the_source(
    make: Callable[..., KernelSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an H100, to machine code; no GPU is needed for it."""
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    compiler = pytest.importorskip("triton.backends.compiler", reason="another Triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    source = make(2, smoothed=True, predicted=True)
    kernel = gpu.compiled_kernel(source)
    constants = {"ROWS": source.rows, "MOVES": 7, "LATENTS": 16, "WIDE": 16, "DEEP": 2}
    types = {"site_of": "*i32", "rows": "*i32"} | dict.fromkeys(constants, "constexpr")
    types |= dict.fromkeys(("series", "sites", "steps", "shown"), "i32")
    signature = {name: types.get(name, "*fp32") for name in kernel.arg_names}

    compiled = triton.compile(
        triton.compiler.ASTSource(kernel, signature, constexprs=constants),
        target=compiler.GPUTarget("cuda", 90, 32),
        options={"num_warps": gpu.WARPS, "num_stages": 1, "enable_fp_fusion": True},
    )

    assert compiled.asm["cubin"]
    # Each thread keeps its lanes from load to store: nothing is shuffled but sums.
    assert "convert_layout" not in compiled.asm["ttgir"]


@pytest.fixture
def device() -> str:
    if not torch.cuda.is_available() or not gpu.available(torch.device("cuda")):
        pytest.skip("no GPU that Triton knows, or no Triton")
    return "cuda"


@pytest.mark.gpu
@by_case
def test_values_and_gradients_on_a_gpu(device: str, states: int, latents: int, series: int) -> None:
    wanted = walked(eager.walk, states, latents, series)
    for dtype, tolerance in ((torch.float32, 5e-4), (torch.float64, 1e-11)):
        got = walked(gpu.walk, states, latents, series, dtype=dtype, device=device)
        agree(got, wanted, tolerance)


@pytest.mark.gpu
def test_gradients_of_many_series_are_the_same_each_time(device: str) -> None:
    one, two = (
        walked(gpu.walk, 3, 16, 40_001, dtype=torch.float32, device=device) for _ in range(2)
    )
    assert all(map(torch.equal, one, two))
    agree(one, walked(eager.walk, 3, 16, 40_001, device=device), 5e-3)


@pytest.mark.gpu
def test_more_than_two_to_the_31_numbers(device: str) -> None:
    if torch.cuda.get_device_properties(device).total_memory < 60e9:
        pytest.skip("needs 60 GB")
    days = torch.arange(8, dtype=torch.float64, device=device)
    w = torch.ones(2**31 // (8 * 16) + 5, 8, 16, device=device)
    chain = link(KERNELS[2](16).to(device), days, days[:0], w)
    with torch.no_grad():
        whole = gpu.walk(chain, w, w, sites=True, predicted=False)
        one = gpu.walk(chain, w[:1], w[:1], sites=True, predicted=False)
    assert torch.equal(whole.mean[-7:], one.mean.expand(7, -1, -1))
    assert torch.equal(whole.var[-7:], one.var.expand(7, -1, -1))


if __name__ == "__main__":
    gpu.BACKWARD_SHARE = 1
    outcomes = walked(gpu.walk, 2, 3, 9)
    save_file({str(at): tensor.contiguous() for at, tensor in enumerate(outcomes)}, sys.argv[1])
