"""The rows of a sweep made by processes of this machine, which share the runs of rules. Knows no store."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from collections.abc import Mapping as Entries
from contextlib import ExitStack
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

from archsim.report.rows.row import Row
from archsim.workers.lost import Lost
from archsim.workers.pool import Pool
from mappers.experiment.request import SweepRequest
from mappers.experiment.workers.task import hello_of, packed_settings


class Processes:
    """So many processes that make rows of one request; a context that ends them."""

    def __init__(self, request: SweepRequest, jobs: int) -> None:
        hello, self._stack = hello_of(request), ExitStack()
        runs = self._stack.enter_context(TemporaryDirectory(prefix="archsim-", ignore_cleanup_errors=True))
        self._pool = self._stack.enter_context(Pool(replace(hello, runs=runs), jobs))

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rows(
        self, settings: Entries[int, Entries[str, Any]], groups: Entries[int, Hashable]
    ) -> Iterator[tuple[int, Row]]:
        """The row of each place, when it is done. Raises InputError where a process cannot begin."""
        packed, refused = packed_settings(settings)
        yield from refused.items()
        for place, made in self._pool.answers(packed, groups):
            row = Row({}, status="lost", problem=made.problem) if isinstance(made, Lost) else made
            yield place, replace(row, settings=settings[place])
