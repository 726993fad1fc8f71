"""What another process needs to work for this one: what it is to do, the files of --with, and the same code."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from archsim.errors import InputError
from archsim.files.contents import code_hash
from archsim.report.rows.row import Row
from archsim.selection.shared_runs import share_in
from mappers.experiment.point import row_of
from mappers.experiment.request import SweepRequest
from mappers.extend import FILES, load_file

_ONE_AT_A_TIME = threading.Lock()  # workers of a cluster may have several threads


@dataclass(frozen=True, slots=True)
class Hello:
    """What answers tasks, pickled, with the hashes of the code and of the files of --with, by path.

    `runs` is the folder in which processes of one machine share runs of rules.
    """

    answer: bytes
    files: tuple[tuple[str, str], ...]
    code: str
    runs: str | None = None

    @classmethod
    def of(cls, answer: Callable[[Any], Any]) -> Hello:
        """That of this process. Raises InputError where it cannot be sent."""
        try:
            return cls(pickle.dumps(answer), tuple(FILES.items()), code_hash())
        except Exception as error:  # pickle raises what the objects raise
            raise InputError(f"jobs: the sweep cannot be sent to another process ({error}); take jobs=1") from None

    def read(self) -> Callable[[Any], Any]:
        """What answers tasks, in another process. Raises InputError where code or files differ there, or lack."""
        if self.code != code_hash():
            told = "a worker has another version of archsim, and would give other rows"
            raise InputError(f"scheduler: {told}; install this one there")
        for name, digest in self.files:
            load_file(name)
            if FILES[str(Path(name).resolve())] != digest:
                raise InputError(f"--with {name}: a worker has other contents under this path; give it the same file")
        share_in(self.runs)
        try:
            answer: Callable[[Any], Any] = pickle.loads(self.answer)
        except (AttributeError, ImportError) as error:
            told = f"{error}, and other processes know only what files say; put it into a file and load that"
            raise InputError(f"jobs: {told} with --with FILE, or take jobs=1") from None
        return answer


@dataclass(frozen=True, slots=True)
class RowMaker:
    """Makes the rows of a request from pickled settings, which are left out again: the sender has them."""

    request: SweepRequest

    def __call__(self, settings: bytes) -> Row:
        """The row of these settings."""
        return replace(row_of(self.request, pickle.loads(settings)), settings={})


def hello_of(request: SweepRequest) -> Hello:
    """The Hello for the rows of a request, without its axes. Raises InputError as `Hello.of`."""
    return Hello.of(RowMaker(replace(request, over={})))


def packed_settings(settings: Mapping[int, Any]) -> tuple[dict[int, bytes], dict[int, Row]]:
    """The settings of each place as they are sent, and the rows of those that cannot be."""
    packed, refused = {}, dict[int, Row]()
    for place, one in settings.items():
        try:
            packed[place] = pickle.dumps(one)
        except Exception as error:  # pickle raises what the objects raise
            told = f"a value cannot be sent to another process ({error}); take jobs=1"
            refused[place] = Row(one, status="refused", problem=told)
    return packed, refused


def make_rows(hello: Hello, packed: Sequence[bytes]) -> tuple[list[Row], float]:
    """The rows of settings as they are sent, and the seconds that they took. Raises InputError as `Hello.read`."""
    with _ONE_AT_A_TIME:
        answer = _read(hello)
        began = time.perf_counter()
        return [answer(one) for one in packed], time.perf_counter() - began


@lru_cache(maxsize=1)
def _read(hello: Hello) -> Callable[[Any], Any]:
    return hello.read()
