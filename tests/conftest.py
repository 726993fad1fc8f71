"""Compiles the engine before anything is tested, so that no test waits for it or sees it say so."""

import pytest

from archsim.engine import compiled
from archsim.engine.flat import Flat, FlatRun, FlatTask, FlatUnit

ONE_FIRING = Flat(
    "one firing", (FlatTask("a", 0, 1, (FlatRun(1, 1, (), ()),)),), (), (FlatUnit("u", "u", 1, 0, ((0, 1),), (0,)),)
)


def pytest_configure(config: pytest.Config) -> None:
    """Once, in the process that starts the others."""
    if not hasattr(config, "workerinput"):
        for skip in (True, False):
            compiled.run(ONE_FIRING, skip=skip)
