"""Cluster: the rows of a sweep made by the workers of a Dask scheduler. The only file that imports distributed.

Knows places, settings and rows. Knows no store. What a worker runs stands in `task`.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from collections.abc import Mapping as Entries
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from archsim.errors import InputError, quoted
from archsim.report.rows.row import Row
from archsim.workers.order import by_group
from mappers.experiment.request import SweepRequest
from mappers.experiment.workers.task import hello_of, make_rows, packed_settings

if TYPE_CHECKING:
    from distributed import Client, Future

TASK_SECONDS = 0.05  # a task shorter than this costs the scheduler more than it is worth
AHEAD = 2  # tasks that each thread of the cluster has at once
ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://(\[[0-9A-Fa-f:.]+\]|[^/\s:]+):[0-9]{1,5}/?")
CONNECT_SECONDS = 10
LOOK_SECONDS = 0.5  # between looks whether the scheduler is there
LOST = Row({}, status="lost", problem="each worker that ran it died; it may need more memory than there is")


class Cluster:
    """The workers of a Dask scheduler that make rows of one request; a context that lets them go.

    Raises InputError where there is no scheduler at the address, or it has gone.
    """

    def __init__(self, request: SweepRequest, address: str) -> None:
        if not isinstance(address, str) or not ADDRESS.fullmatch(address):
            told = f"expected an address such as tcp://host:8786, got {quoted(address)}"
            raise InputError(f"scheduler: {told}")
        try:
            from distributed import Client
        except ImportError:
            raise InputError("scheduler: needs Dask; pip install 'archsim[cluster]'") from None
        self._address, self._hello = address, hello_of(request)
        # Dask's own words on what is told here as well.
        for name in ("distributed.client", "distributed.core", "distributed.batched"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self._client: Client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError, TimeoutError) as error:
            told = str(error).partition("\n")[0] or type(error).__name__
            raise InputError(f"scheduler {address}: cannot be reached: {told}") from None
        self._known, self._counted = 0, -math.inf

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close(timeout=1)

    def rows(
        self, settings: Entries[int, Entries[str, Any]], groups: Entries[int, Hashable]
    ) -> Iterator[tuple[int, Row]]:
        """The row of each place, when it is done; those of a group go out one after another."""
        packed, refused = packed_settings(settings)
        yield from refused.items()
        places = by_group(groups)
        try:
            for place, row in self._made([place for place in places if place in packed], packed):
                yield place, replace(row, settings=settings[place])
        except OSError:  # the base of what Dask raises where a connection is lost
            raise self._gone() from None

    def _made(self, places: Sequence[int], packed: Entries[int, bytes]) -> Iterator[tuple[int, Row]]:
        waiting, alone = deque(places), deque[int]()  # those of a batch whose worker died go out alone
        batches: dict[Future[Any], list[int]] = {}
        seconds, made, done = 0.0, 0, SimpleQueue[Any]()
        try:
            while waiting or alone or batches:
                size = max(1, math.ceil(TASK_SECONDS * made / seconds)) if seconds else 1
                while (waiting or alone) and len(batches) < AHEAD * self._threads():
                    batch = [alone.popleft()] if alone else [waiting.popleft() for _ in range(min(size, len(waiting)))]
                    # With the request each time: what lies on a worker alone is lost with it.
                    future = self._client.submit(make_rows, self._hello, [packed[i] for i in batch], pure=False)
                    batches[future] = batch
                    future.add_done_callback(done.put)
                future = self._next(done)
                batch = batches.pop(future)
                rows, spent = self._result(future)
                if rows is None and len(batch) > 1:
                    alone += batch
                    continue
                seconds, made = seconds + spent, made + len(rows or ())
                yield from zip(batch, rows or [LOST], strict=True)
        finally:
            self._client.cancel(list(batches))

    def _threads(self) -> int:
        """The threads of all workers, at least one; asked for now and then, because workers come and go."""
        if time.monotonic() - self._counted >= LOOK_SECONDS:
            self._known, self._counted = sum(self._client.ncores().values()), time.monotonic()
            if not self._known:
                logging.getLogger("archsim").warning(f"scheduler {self._address} has no worker; waiting for one")
        return max(1, self._known)

    def _next(self, done: SimpleQueue[Any]) -> Any:
        """The next future that is done. Raises InputError where the scheduler has gone meanwhile."""
        while True:
            try:
                return done.get(timeout=LOOK_SECONDS)
            except Empty:
                if self._client.status != "running":
                    raise self._gone() from None

    def _result(self, future: Future[Any]) -> tuple[list[Row] | None, float]:
        """The rows of a task and the seconds that they took; no rows where each worker that ran it has died."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            found: tuple[list[Row], float] = future.result()
            return found
        except KilledWorker:
            return None, 0.0
        except (CancelledError, FutureCancelledError):
            raise self._gone() from None

    def _gone(self) -> InputError:
        told = "has gone, or has lost this sweep; the rows in a store are safe, and resume (--resume) goes on"
        return InputError(f"scheduler {self._address}: {told}")
