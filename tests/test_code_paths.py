"""Numerical tests hold on every code path of the libraries that do the arithmetic, not on one.

MKL, oneDNN, OpenBLAS, torch and numba each choose at run time, by processor and number of threads,
in which order they add and whether they fuse a multiplication with an addition. What is true only
of the order that one processor takes is no law. All of them let the choice be made for them, so one
processor can try what others do.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

COMPARES = re.compile(r"assert_near\(|assert_close\(|allclose\(|approx\(|gradcheck\(")
USES = re.compile(r"^(?:from|import) (?:torch|numba|terralatent\.models)\b", re.MULTILINE)
"""What the numerical test files have in common: numbers compared to within rounding, of models."""

CHOOSES = re.compile("MKL_|OMP_|OPENBLAS_|GOTO_|NUMBA_(?!CACHE_DIR)|ONEDNN_|DNNL_|ATEN_|KMP_")
"""Names of variables that choose for a library; a child hears of none but its own."""

PATHS = {
    "its own": {},
    "oldest": {
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",
        "ATEN_CPU_CAPABILITY": "default",
        "NUMBA_CPU_NAME": "generic",
    },
    "avx2": {
        "MKL_CBWR": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2",
    },
    "avx512": {
        "MKL_CBWR": "AVX512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "OPENBLAS_CORETYPE": "SkylakeX",
        "ATEN_CPU_CAPABILITY": "avx512",
    },
}
"""The variables by which each library takes a path."""

FLAGS = {"avx2": ("avx2", "fma"), "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl")}
"""What a processor must know for it."""

TAKEN = """
import numba, numpy, torch
from threadpoolctl import threadpool_info

kernels = {pool.get("architecture") for pool in threadpool_info()} - {None}
print(torch.backends.cpu.get_cpu_capability(), *kernels, numba.config.CPU_NAME or "-",
    torch.get_num_threads())
"""


def numerical() -> list[Path]:
    """Return the test files that compare numbers of models to within rounding."""
    texts = {path: path.read_text() for path in sorted(ROOT.glob("tests/**/test_*.py"))}
    return [path for path, text in texts.items() if COMPARES.search(text) and USES.search(text)]


def environment(path: str, threads: int) -> dict[str, str]:
    """Return the environment of a child that takes a code path."""
    kept = {name: value for name, value in os.environ.items() if not CHOOSES.match(name)}
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return kept | dict.fromkeys(names, str(threads)) | PATHS[path]


def known() -> set[str]:
    """Return the instructions that this processor says it knows; none where that is not known."""
    processor = Path("/proc/cpuinfo")
    text = processor.read_text() if processor.exists() else ""
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(flags[1].split()) if flags else set()


def test_the_numerical_tests_are_found() -> None:
    names = {path.stem for path in numerical()}

    assert {"test_banded", "test_forms", "test_kernels", "test_networks", "test_gpvae"} <= names
    assert not {"test_cluster", "test_cube", "test_region", "test_code_paths"} & names


@pytest.mark.soak
@pytest.mark.parametrize(
    ("path", "threads"), [*((path, 1) for path in PATHS), ("its own", 2), ("oldest", 2)]
)
def test_every_code_path_passes(path: str, threads: int) -> None:
    lacking = set(FLAGS.get(path, ())) - known()
    if lacking:
        pytest.skip(f"NOT TRIED: the code path {path} needs {sorted(lacking)} of the processor")
    child = environment(path, threads)
    taken = subprocess.run(
        [sys.executable, "-c", TAKEN], env=child, capture_output=True, text=True, check=True
    ).stdout.split()
    wanted = PATHS[path]
    if wanted:
        assert taken[0].lower() == wanted["ATEN_CPU_CAPABILITY"]
        assert wanted["OPENBLAS_CORETYPE"] in taken
        assert wanted.get("NUMBA_CPU_NAME", "-") in taken
    assert taken[-1] == str(threads)

    files = [str(path) for path in numerical()]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *files],
        env=child,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
