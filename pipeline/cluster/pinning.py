"""Each task of a worker gets one thread of every library that would start a pool."""

from __future__ import annotations

from distributed import WorkerPlugin

__all__ = ["PIN_THREADS", "pin_threads"]

PIN_THREADS = "terralatent-pin-threads"
"""Name of the plugin."""

POOLS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "BLOSC_NTHREADS",
)
"""Variables that size the thread pools of the libraries a worker may import later."""


def pin_threads() -> WorkerPlugin:
    """A plugin that pins the pools of a worker's process: those loaded, and those that may come.

    Each task gets one thread of torch, BLAS and blosc, and a worker's zarr as many as the worker
    has. Dask runs as many tasks at once in a worker as that; a library that starts a pool for all
    cores inside each of them makes them wait for one another.
    """

    # Pickled by value, being no module's: else a worker without this package could not join a
    # cluster while another's work goes on there.
    class PinThreads(WorkerPlugin):
        name = PIN_THREADS

        def setup(self, worker: object) -> None:
            import os
            import sys

            os.environ.update({name: "1" for name in POOLS})
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(1)
            if "numcodecs" in sys.modules:
                sys.modules["numcodecs"].blosc.set_nthreads(1)
            try:
                import zarr
            except ImportError:
                return  # a worker of others, on which nothing of ours will run
            zarr.config.set({"threading.max_workers": worker.state.nthreads})  # type: ignore[attr-defined]

    return PinThreads()
