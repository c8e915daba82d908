"""The workers that a cluster has, from moment to moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress

import dask
from distributed import Client, LocalCluster
from distributed.comm import get_address_host

__all__ = ["Crew"]

log = logging.getLogger(__name__)

ASK_EVERY_S = 1.0
"""How often the scheduler is asked which workers there are."""

LONELY_S = 15.0
"""How long there must have been no worker before it is told: a nanny starts another in less."""


KEEP_LOST = {"distributed.deploy.lost-worker-timeout": "1 day"}
"""A local cluster looks some seconds after a worker died whether it is there, and if not forgets it
for good. One that died twice may just be starting again."""


class Crew:
    """The workers of a cluster, for the time of a ``with`` block.

    The scheduler is asked in the background, so that nothing here waits for it: what it last said
    holds until it says otherwise.

    Args:
        client: Of the cluster.
    """

    def __init__(self, client: Client) -> None:
        self.threads: Mapping[str, int] = client.nthreads()
        """Threads of each worker, by address."""

        self._client = client
        self._open = True
        self._had_one = bool(self.threads)
        self._lonely_since: float | None = None
        self._told = False
        self._stack = ExitStack()

    def __enter__(self) -> Crew:
        if isinstance(self._client.cluster, LocalCluster):
            self._stack.enter_context(dask.config.set(KEEP_LOST))
        self._client.loop.add_callback(self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._open = False

    def elsewhere(self, worker: str) -> frozenset[str]:
        """Workers beside the one at an address: those of other machines, if there are any.

        What is wrong with a worker, such as a full disk, is often wrong with its whole machine.
        """
        others = frozenset(self.threads) - {worker}
        far = {other for other in others if get_address_host(other) != get_address_host(worker)}
        return frozenset(far) or others

    def tell(self) -> None:
        """Log once that no worker is left, and once that one has joined again."""
        if self.threads:
            if self._told:
                log.info("a worker has joined %s; going on", self._client.scheduler.address)
            self._had_one, self._told, self._lonely_since = True, False, None
            return
        now = time.monotonic()
        self._lonely_since = self._lonely_since or now
        if not self._told and now - self._lonely_since >= LONELY_S:
            log.warning(
                "no worker is %s at %s; waiting for one (Ctrl-C ends this, what is done is kept)",
                "left" if self._had_one else "there yet",
                self._client.scheduler.address,
            )
            self._told = True

    async def _ask(self) -> None:
        # The scheduler may be lost, which is noticed where tasks end.
        with suppress(OSError, RuntimeError):
            self.threads = await self._client.scheduler.ncores()
        if self._open:  # asked for anew, not slept in: a loop that closes complains of sleepers
            self._client.loop.call_later(ASK_EVERY_S, self._ask)
