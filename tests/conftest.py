"""Loads the files of --with before tests are collected, and compiles the engine before anything is tested.

So no test waits for the compiler or sees it say so, and the contracts run on what the files add.
"""

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from archsim.engine import compiled
from archsim.engine.flat import Flat, FlatRun, FlatTask, FlatUnit
from archsim.errors import InputError
from mappers.extend import load_file, restore, snapshot

ONE_FIRING = Flat(
    "one firing", (FlatTask("a", 0, 1, (FlatRun(1, 1, (), ()),)),), (), (FlatUnit("u", "u", 1, 0, ((0, 1),), (0,)),)
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """As `archsim --with FILE`."""
    parser.addoption(
        "--with", action="append", dest="with_files", metavar="FILE", help="Python code that adds kinds, ops, mappers, "
        "phases or rules, for tests/contracts",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Files in every process; the engine once, in the process that starts the others."""
    for name in config.getoption("with_files") or ():
        try:
            load_file(name)
        except InputError as error:
            raise pytest.UsageError(*error.problems) from None
    if not hasattr(config, "workerinput"):
        for skip in (True, False):
            compiled.run(ONE_FIRING, skip=skip)


@pytest.fixture
def added() -> Iterator[Callable[[str], ModuleType]]:
    """`load_file`; what a test adds by it, by --with or by extend is taken back, so that no other test knows it."""
    saved = snapshot()
    yield load_file
    restore(saved)
